import Glibc
import System
import TestSupport
import Testing
import Unconfined

@Suite("Child processes")
struct ChildProcessTests {
    @Test("it ends with its own status, and its handle becomes readable then")
    func exit() throws {
        let child = try ChildProcess.spawn(
            "/bin/sh", arguments: ["sh", "-c", "exit $CODE"], environment: ["CODE=7"], descriptors: [])
        let poller = try Poller()
        try poller.add(child.number, token: 1, interest: .read)
        #expect(try poller.waitUndisturbed(timeout: 60_000_000_000).first?.token == 1)
        #expect(try child.reapIfEnded() == .exited(status: 7))
    }

    @Test("it gets the descriptors named under the numbers named, even crosswise, and no other")
    func descriptors() throws {
        var first = try MessageChannel.pair(), second = try MessageChannel.pair()
        let nearA = first.takeFirst(), farA = first.takeSecond(), nearB = second.takeFirst(), farB = second.takeSecond()
        // Leave one open without CLOEXEC: the child must not inherit it.
        let leak = dup(farA.number)
        defer { close(leak) }
        let script = """
            echo a >&\(farB.number); echo b >&\(farA.number)
            for file in /proc/$$/fd/*; do [ -e $file ] && all="$all ${file##*/}"; done; echo $all >&\(farA.number)
            """
        // Each source's number is the other's target.
        let child = try ChildProcess.spawn(
            "/bin/bash", arguments: ["bash", "-c", script], environment: ["PATH=/usr/bin:/bin"],
            descriptors: [(farA.number, farB.number), (farB.number, farA.number)])
        #expect(try child.wait() == .exited(status: 0))
        var buffer = try SecretBuffer(capacity: 256)
        #expect(try text(nearA, &buffer) == "a\n")
        #expect(try text(nearB, &buffer) == "b\n")
        let open = Set(try text(nearB, &buffer).split { $0.isWhitespace }.compactMap { Int32($0) })
        // 255 and what lies above it are the shell's own.
        #expect(open.subtracting(255...260) == Set([0, 1, 2, farA.number, farB.number]).subtracting(255...260))
    }

    @Test("a signal ends it, and the signal is told")
    func killed() throws {
        let child = try ChildProcess.spawn(
            "/bin/sleep", arguments: ["sleep", "100"], environment: [], descriptors: [])
        #expect(try child.reapIfEnded() == nil)
        try child.signal(SIGTERM)
        #expect(try child.wait() == .killed(signal: SIGTERM))
    }

    @Test("a program that is not there is an error that names it")
    func missing() {
        #expect(throws: SystemError("posix_spawn", ENOENT, "/nonexistent/worker")) {
            _ = try ChildProcess.spawn("/nonexistent/worker", arguments: ["w"], environment: [], descriptors: []).number
        }
    }

    private func text(_ channel: borrowing MessageChannel, _ buffer: inout SecretBuffer) throws -> String {
        guard case .message(let length, _) = try channel.receive(into: &buffer, timeout: .seconds(60)) else {
            return ""
        }
        return String(decoding: buffer.bytes(length), as: UTF8.self)
    }
}
