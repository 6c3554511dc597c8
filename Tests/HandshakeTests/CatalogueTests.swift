import Foundation
import TestSupport
import Testing

@testable import Handshake
@testable import Policy

/// systemd/tlshd.catalog, as systemd reads it.
@Suite("The journal's catalogue")
struct CatalogueTests {
    private struct Entry {
        let id: String
        var headers: [String: String] = [:]
        /// Its lines as one.
        var body = ""

        /// The fields of the line that are put in.
        var fields: Set<String> {
            let text = headers["Subject", default: ""] + body
            return Set(
                text.split(separator: "@", omittingEmptySubsequences: false).enumerated().filter { $0.0 % 2 == 1 }.map {
                    String($0.1)
                })
        }
    }

    private static let file = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appending(path: "systemd/tlshd.catalog")

    private static func entries() throws -> [Entry] {
        var entries: [Entry] = []
        var isHeader = false
        for line in try String(contentsOf: file, encoding: .utf8).split(
            separator: "\n", omittingEmptySubsequences: false)
        {
            if line.hasPrefix("#") { continue }
            if line.hasPrefix("-- ") {
                entries.append(Entry(id: String(line.dropFirst(3))))
                isHeader = true
            } else if isHeader, let end = line.firstRange(of: ": ") {
                entries[entries.count - 1].headers[String(line[..<end.lowerBound])] = String(line[end.upperBound...])
            } else if line.isEmpty {
                isHeader = false
            } else {
                let isFirst = entries[entries.count - 1].body.isEmpty
                entries[entries.count - 1].body += (isFirst ? "" : " ") + line
            }
        }
        return entries
    }

    @Test("numbers are 32 lower-case hexadecimal digits, each another, and the catalogue has each once and no other")
    func complete() throws {
        let ids = LogEvent.allCases.map(\.rawValue) + FailureReason.allCases.map(\.row.messageID)
        #expect(Set(ids).count == ids.count)
        for id in ids { #expect(id.utf8.count == 32 && id.allSatisfy { "0123456789abcdef".contains($0) }) }
        #expect(try Self.entries().map(\.id).sorted() == ids.sorted())
    }

    @Test("an entry says whose it is, where more stands, and more than its subject")
    func whole() throws {
        for entry in try Self.entries() {
            #expect(entry.headers["Defined-By"] == "tlshd")
            #expect(entry.headers["Documentation"] == "man:tlshd(8)")
            #expect(entry.headers.count == 3)
            #expect(entry.headers["Subject"]?.isEmpty == false)
            #expect(entry.body.count > 60, "\(entry.headers)")
        }
    }

    @Test("a reason's entry is about that reason, and has the remedy of the table", arguments: FailureReason.allCases)
    func remedy(reason: FailureReason) throws {
        let entry = try #require(try Self.entries().first { $0.id == reason.row.messageID })
        #expect(entry.headers["Subject"] == "TLS with @TLSHD_PEER@ failed: \(reason.row.explanation)")
        #expect(entry.body.contains("Remedy: \(reason.row.remedy)."))
        // What every line has that this reason can be in.
        let fields = Set(LogLine(refused: HandshakeFailure(reason), of: "192.0.2.7:2049").fields.map(\.name))
        #expect(entry.fields.isSubset(of: fields))
    }

    @Test(
        "the entry of a success names fields that its line has", arguments: [LogEvent.handshakeSucceeded, .keysUpdated])
    func success(event: LogEvent) throws {
        let entry = try #require(try Self.entries().first { $0.id == event.rawValue })
        let session = NegotiatedSession(
            cipherSuite: "TLS_AES_128_GCM_SHA256", group: "X25519", applicationProtocol: "", peerAuthenticated: true)
        let request = HandshakeRequest(transport: .netlink, role: .server, authentication: .x509)
        let line = LogLine(
            HandshakeResult(outcome: .success(session)), of: request, with: PeerAddress(socketAddress: "[::1]:871"))
        #expect(!entry.fields.isEmpty && entry.fields.isSubset(of: line.fields.map(\.name)))
    }

    @Test("the daemon's own lines have no fields, so that their entries name none")
    func plain() throws {
        let withFields =
            FailureReason.allCases.map(\.row.messageID) + [LogEvent.handshakeSucceeded, .keysUpdated].map(\.rawValue)
        for entry in try Self.entries() where !withFields.contains(entry.id) { #expect(entry.fields.isEmpty) }
    }

    private static let journalctl = "/usr/bin/journalctl"

    @Test(
        "systemd can read it",
        .enabled(
            if: FileManager.default.isExecutableFile(atPath: journalctl),
            "there is no \(journalctl); the VM case service-journal reads it"))
    func compiles() throws {
        let directory = TemporaryDirectory()
        let root = URL(filePath: directory.path)
        let folder = root.appending(path: "usr/lib/systemd/catalog")
        for path in [folder, root.appending(path: "var/lib/systemd/catalog")] {
            try FileManager.default.createDirectory(at: path, withIntermediateDirectories: true)
        }
        try FileManager.default.copyItem(at: Self.file, to: folder.appending(path: "tlshd.catalog"))
        #expect(try Self.run(directory, "--update-catalog").isEmpty, "it complains of nothing")
        let list = try Self.run(directory, "--list-catalog").split(separator: "\n").map(String.init)
        let wanted = try Self.entries().map { "\($0.id) tlshd: \($0.headers["Subject", default: ""])" }
        #expect(list.sorted() == wanted.sorted())
    }

    private static func run(_ root: TemporaryDirectory, _ verb: String) throws -> String {
        try Command.run(journalctl, "--root=\(root.path)", "--no-pager", verb)
    }
}
