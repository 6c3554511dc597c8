import CLinux
import Foundation
import Glibc
import TestSupport
import Testing

@testable import System
@testable import Unconfined

/// A process in a network namespace of its own, which ends with it.
private final class Stranger {
    private let program: PeerProgram
    var process: Int32 { program.identifier }

    init() throws {
        program = try PeerProgram("/usr/bin/unshare", ["--net", "cat"])
        program.write("ready\n")
        try #require(program.wait(for: "ready\n"), "\(program.text)")
    }

    var path: String { "/proc/\(process)/ns/net" }
}

private func mayUnshare() -> Bool {
    geteuid() == 0 && Host.isExecutable("/usr/bin/unshare") && (try? Stranger()) != nil
}

@Suite("Network namespaces", .serialized)
struct NetworkNamespaceTests {
    @Test(
        "a visit is in the other namespace, its sockets stay there, and the thread is back", .enabled(if: mayUnshare()))
    func visit() throws {
        let stranger = try Stranger()
        let door = try NetworkNamespace()
        let there = try NamespaceIdentity(ofPath: stranger.path)
        #expect(there != door.homeIdentity)
        let inside = try door.visit(stranger.path, there) { try? NamespaceIdentity(ofPath: "/proc/thread-self/ns/net") }
        #expect(inside == there)
        #expect(try NamespaceIdentity(ofPath: "/proc/thread-self/ns/net") == door.homeIdentity)
    }

    @Test("no descriptor stays open after visits", .enabled(if: mayUnshare()))
    func descriptors() throws {
        let stranger = try Stranger()
        let door = try NetworkNamespace()
        let there = try NamespaceIdentity(ofPath: stranger.path)
        func count() -> Int {
            ProcessTable.names(in: "/proc/self/fd")
                .count { ProcessTable.target(of: "/proc/self/fd/\($0)") == "net:[\(there.inode)]" }
        }
        for _ in 0..<50 { try door.visit(stranger.path, there) {} }
        #expect(count() == 0)
    }

    @Test("a file that stands for another namespace by now is not entered", .enabled(if: mayUnshare()))
    func stale() throws {
        let stranger = try Stranger()
        let door = try NetworkNamespace()
        let error = try #require(throws: SystemError.self) {
            try door.visit(stranger.path, door.homeIdentity) { Issue.record("entered") }
        }
        #expect(error.number == .estale)
    }

    @Test("the processes' namespaces are found, and go with them", .enabled(if: mayUnshare()))
    func census() throws {
        var stranger: Stranger? = try Stranger()
        let there = try NamespaceIdentity(ofPath: try #require(stranger?.path))
        #expect(ProcessTable.namespaces(besides: []).processByInode[there.inode] == stranger?.process)
        stranger = nil
        #expect(ProcessTable.namespaces(besides: []).processByInode[there.inode] == nil)
    }

    @Test("what is no network namespace is refused", arguments: ["/proc/self/ns/mnt", "/dev/null", "/none"])
    func refuses(_ path: String) {
        #expect(throws: SystemError.self) { try NamespaceIdentity(ofPath: path) }
    }

    @Test("a folder that comes later is watched from then on")
    func folder() throws {
        let parent = TemporaryDirectory(), path = parent.path("folder")
        var watch = try FolderWatch(path)
        watch.drain()
        var isWatching = watch.isWatching
        #expect(!isWatching)
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
        watch.drain()
        isWatching = watch.isWatching
        #expect(isWatching)
        let poller = try Poller()
        try poller.add(watch.number, token: 1, interest: .read)
        #expect(try poller.wait(timeout: 0).isEmpty)
        #expect(FileManager.default.createFile(atPath: path + "/blue", contents: nil))
        #expect(try poller.waitUndisturbed(timeout: 60_000_000_000).map(\.token) == [1])
        watch.drain()
        #expect(try poller.wait(timeout: 0).isEmpty)
    }
}

struct NamesakeTests {
    @Test("a netlink port tells its process by its lower 22 bits, as long as that exists") func namesake() {
        let own = Int32(ProcessInfo.processInfo.processIdentifier)
        let named = ProcessTable.holder(ofNetlinkPort: UInt32(own) | 5 << 22)
        #expect(named?.process == own)
        #expect(named?.name.isEmpty == false)
        #expect(ProcessTable.holder(ofNetlinkPort: 0) == nil)
        #expect(ProcessTable.holder(ofNetlinkPort: 0x3f_ffff) == nil)
    }

    @Test("a stopped process is told from one that runs, and from none") func stopped() throws {
        let program = try PeerProgram("/bin/sleep", ["600"])
        let number = program.identifier
        #expect(!ProcessTable.isStopped(number))
        kill(number, SIGSTOP)
        var status: Int32 = 0
        // It has stopped when its parent is told.
        #expect(unsafe waitpid(number, &status, WUNTRACED) == number)
        #expect(ProcessTable.isStopped(number))
        kill(number, SIGCONT)
        #expect(unsafe waitpid(number, &status, WCONTINUED) == number)
        #expect(!ProcessTable.isStopped(number))
        #expect(!ProcessTable.isStopped(-1))
    }

    @Test("all who have a socket open are found") func holders() throws {
        let listener = OwnedDescriptor(adopting: socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0))
        let inode = try FileIdentity(ofNumber: listener.number).inode
        #expect(ProcessTable.holders(ofSocket: inode).map(\.process).contains(getpid()))
        #expect(ProcessTable.holders(ofSocket: 0).isEmpty)
    }
}
