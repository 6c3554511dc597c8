import Foundation
import TestSupport
import Testing

/// The program runs by itself: it stands in for the kernel and for the random numbers of GnuTLS.
@Suite("The corpus of FuzzWorker")
struct CorpusTests {
    private static let folder = URL(filePath: #filePath).deletingLastPathComponent().appending(
        path: "../Fuzz/corpus/worker")

    @Test("breaks no rule")
    func replay() throws {
        let names = try FileManager.default.contentsOfDirectory(atPath: Self.folder.path).sorted()
        #expect(names.count > 40)
        let run = try Command([Product.path("FuzzReplay")] + names.map { Self.folder.appending(path: $0).path })
        #expect(run.status == 0, "\(run.text)")
        func expect(_ name: String, _ outcome: String) {
            let line = run.text.split(separator: "\n").first { $0.contains("/\(name): ") }
            #expect(line?.contains(outcome) == true, "\(line ?? "nothing of \(name)")")
        }
        // Handshakes that are to succeed, in either role and with each kind of proof.
        for name in [
            "server-0-0", "server-named", "server-key-retry", "client-2", "client-key", "client-retry-group",
            "client-ticket-in-records",
        ] { expect(name, " authenticated; ") }
        // Those that end after the handshake.
        expect("client-ticket-without-end", "peerClosed directly after the handshake")
        expect("client-data-in-ticket", "protocolViolation a record within a message after the handshake")
        for name in ["client-behind-finished", "server-behind-finished"] {
            expect(name, "protocolViolation a message behind Finished in one record")
        }
        expect("client-update-not-last", "protocolViolation a message behind a KeyUpdate in one record")
    }
}
