import Foundation
import Handshake
import TestSupport
import Testing

@Suite struct VersionTests {
    private static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    private static func text(of file: String) throws -> String {
        try String(contentsOf: root.appendingPathComponent(file), encoding: .utf8)
    }

    @Test("The daemon prints one line, in which scripts find the version of ktls-utils")
    func daemon() throws {
        for option in ["--version", "-v"] {
            let output = try Command.run(Product.path("tlshd"), option)
            #expect(output == "tlshd 0.2.0 (in place of ktls-utils 1.4.0)\n")
        }
        // As blktests reads it (common/nvme): what follows "utils " are three numbers.
        let version = try #require(Version.daemonLine.split(separator: "utils ").last).prefix {
            $0.isNumber || $0 == "."
        }
        let numbers = version.split(separator: ".").compactMap { Int($0) }
        #expect(numbers.count == 3 && numbers[0] >= 1)
    }

    @Test("The other programs print their name and the same version", arguments: ["tlshd-worker", "tlshd-signer"])
    func others(name: String) throws {
        #expect(try Command.run(Product.path(name), "--version") == "\(name) \(Version.text)\n")
    }

    @Test("tlshctl prints the same version")
    func tool() throws {
        #expect(try Tool.run("--version").output == "tlshctl \(Version.text)\n")
    }

    @Test("Package and change log have the same version")
    func documents() throws {
        #expect(try Self.text(of: "packaging/debian/changelog").hasPrefix("tlshd (\(Version.text)) "))
        #expect(try Self.text(of: "CHANGELOG.md").contains("\n## \(Version.text)"))
        #expect(try Self.text(of: "contrib/kubernetes/daemonset.yaml").contains("image: tlshd:\(Version.text)\n"))
        #expect(try Self.text(of: "docs/start-here.md").contains("`ok: tlshd \(Version.text) serves"))
    }
}
