import Foundation
import Glibc
import Synchronization
import TestSupport
import Testing

@testable import Unconfined

@Suite("The control socket's place")
struct UnixListenerTests {
    @Test("the mask of the process, which children inherit, is never another while a socket is made")
    func mask() throws {
        let folder = TemporaryDirectory(), path = folder.path("socket")
        let isOver = Atomic(false)
        let seen = Mutex<Set<String>>([])
        let watcher = Thread {
            while !isOver.load(ordering: .relaxed) {
                let status = (try? String(contentsOfFile: "/proc/self/status", encoding: .utf8)) ?? ""
                let line = status.split(separator: "\n").first { $0.hasPrefix("Umask:") }
                if let line { seen.withLock { _ = $0.insert(String(line)) } }
            }
        }
        watcher.start()
        try wait { seen.withLock { !$0.isEmpty } }
        for _ in 0..<300 { _ = try UnixListener(path: path, group: nil) }
        isOver.store(true, ordering: .relaxed)
        #expect(seen.withLock { $0.count } == 1)
    }
}
