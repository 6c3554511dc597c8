import Foundation
import Policy
import Testing

@testable import Settings

/// docs/operating.md has the sum as a table.
@Suite("Memory limit of the DaemonSet")
struct ContainerMemoryTests {
    // Measured: all processes of an idle daemon on two processors, and what each further processor adds.
    private static let processes = 27_500_000
    private static let processor = 7_000_000

    @Test(
        "is enough for what strangers can make tlshd store, on nodes with as many processors as the file says",
        arguments: ["contrib/kubernetes/daemonset.yaml", "contrib/kubernetes/chart/values.yaml"])
    func sum(file: String) throws {
        let root = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../..")
        let text = try String(contentsOf: root.appending(path: file), encoding: .utf8)
        let limit = try Int(#require(text.firstMatch(of: /limits:\n(?: +#.*\n)* +memory: (\d+)Mi\n/)).1)
        let processors = try Int(#require(text.firstMatch(of: /nodes with up to (\d+) processors/)).1)
        let memory = try Self.settings(in: text).memoryLimits
        let peers = Int(memory.peers + memory.requestKeys)
        // The volumes for the control socket and for the metrics are in memory, and have 1 MiB each.
        let room = try #require(limit) << 20 - peers - 2 << 20 - Self.processes
        #expect(processors == 2 + room / Self.processor)
    }

    /// The settings that a block of text in the file has.
    private static func settings(in text: String) throws -> DaemonSettings {
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        let head = try #require(lines.firstIndex { $0.hasSuffix(" tlshd.conf: |") || $0 == "settings: |" })
        let indent = lines[head].prefix { $0 == " " } + " "
        let block = lines[(head + 1)...].prefix { $0.isEmpty || $0.hasPrefix(indent) }
        let words = block.map { $0.drop { $0 == " " } }.joined(separator: "\n")
        return try DaemonSettings.read(Array(words.utf8), file: "tlshd.conf")
    }
}
