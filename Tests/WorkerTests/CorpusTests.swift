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
        // Handshakes that are to succeed, in either role and with each kind of proof.
        for name in ["server-0-0", "server-named", "server-key-retry", "client-2", "client-key", "client-retry-group"] {
            let line = run.text.split(separator: "\n").first { $0.contains("/\(name): ") }
            #expect(line?.contains(" authenticated; ") == true, "\(line ?? "nothing of \(name)")")
        }
    }
}
