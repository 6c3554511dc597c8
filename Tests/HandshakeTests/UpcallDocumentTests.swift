import Foundation
import Testing

@testable import Handshake

@Suite("docs/upcall.md")
struct UpcallDocumentTests {
    /// The row as the document must show it.
    private func line(for reason: FailureReason) -> String {
        let row = reason.row
        let alert = row.alert?.name ?? "none"
        return "| `\(reason)` | \(row.status.name) | \(alert) | \(row.explanation) | \(row.remedy) |"
    }

    @Test("shows every row of the table of failures, in its order, and no other")
    func table() throws {
        let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let text = try String(contentsOf: root.appending(path: "docs/upcall.md"), encoding: .utf8)
        let shown = text.split(separator: "\n").filter { $0.hasPrefix("| `") }.map(String.init)
        #expect(
            shown == FailureReason.allCases.map(line),
            "the table should read:\n\(FailureReason.allCases.map(line).joined(separator: "\n"))")
        let transient = FailureReason.allCases.filter(\.row.isTransient).map { "`\($0)`" }.joined(separator: " ")
        #expect(text.contains("\nTransient: \(transient)\n"))
    }
}
