import Foundation
import Testing

@testable import Settings

/// The place of an error must lie in the file, and its text must fit one line.
private func expectPlaced(_ error: SettingsError, in bytes: [UInt8], _ comment: Comment) {
    let lines = bytes.split(separator: 0x0A, omittingEmptySubsequences: false)
    #expect((1...lines.count).contains(error.line), comment)
    guard (1...lines.count).contains(error.line) else { return }
    #expect((1...lines[error.line - 1].count + 1).contains(error.column), comment)
    #expect(error.file == "f", comment)
    #expect(!error.description.utf8.contains { $0 < 0x20 }, comment)
}

/// Reads bytes as settings; whatever they are, they give settings or an error with a place.
private func readSettings(_ bytes: [UInt8], _ comment: Comment) -> Bool {
    do {
        let settings = try DaemonSettings.read(bytes, file: "f")
        let lines = bytes.count { $0 == 0x0A } + 1
        #expect(settings.notices.allSatisfy { (1...lines).contains($0.line) }, comment)
        #expect(settings.notices.allSatisfy { !$0.description.utf8.contains { $0 < 0x20 } }, comment)
        return true
    } catch {
        expectPlaced(error, in: bytes, comment)
        return false
    }
}

/// Reads bytes as PSKs; whatever they are, they give entries whose keys can be decoded, or an error with a place.
private func readPSKs(_ bytes: [UInt8], _ comment: Comment) -> Bool {
    do {
        for entry in try PSKFile.parse(bytes, file: "f") {
            #expect(!entry.identity.isEmpty && !entry.identity.contains(0), comment)
            var key = [UInt8](repeating: 0, count: entry.keyLength)
            var span = key.mutableSpan
            try entry.decodeKey(from: bytes.span, into: &span)
            #expect((PSKFile.shortestKey...PSKFile.longestKey).contains(key.count), comment)
        }
        return true
    } catch {
        expectPlaced(error, in: bytes, comment)
        return false
    }
}

@Suite("Damaged files")
struct DamageTests {
    typealias Reader = @Sendable ([UInt8], Comment) -> Bool

    struct Case: CustomTestStringConvertible, Sendable {
        let testDescription: String
        let bytes: [UInt8]
        let read: Reader
    }

    static let cases: [Case] = [
        Case(testDescription: "settings", bytes: Array(Samples.fullSettings.utf8)) { readSettings($0, $1) },
        Case(testDescription: "old settings", bytes: Array(Samples.oldSettings.utf8)) { readSettings($0, $1) },
        Case(testDescription: "profiles", bytes: Array(Samples.profileSettings.utf8)) { readSettings($0, $1) },
        Case(testDescription: "PSKs", bytes: Array(Samples.pskFile.utf8)) { readPSKs($0, $1) },
    ]

    @Test("a file cut at any length is read or refused with a place", arguments: cases)
    func truncation(_ sample: Case) {
        #expect(sample.read(sample.bytes, "whole"))
        var refused = 0
        for length in 0..<sample.bytes.count where !sample.read(Array(sample.bytes.prefix(length)), "\(length) bytes") {
            refused += 1
        }
        #expect(refused > 0)
    }

    @Test("a file with any bit flipped is read or refused with a place", arguments: cases)
    func bitFlips(_ sample: Case) {
        var refused = 0
        for index in sample.bytes.indices {
            for bit in 0..<8 {
                var bytes = sample.bytes
                bytes[index] ^= 1 << UInt8(bit)
                if !sample.read(bytes, "byte \(index) bit \(bit)") { refused += 1 }
            }
        }
        #expect(refused > 0)
    }

    @Test("a flipped bit in a key never changes which identities a PSK file has")
    func keyFlips() throws {
        let bytes = Array("a:\(Samples.key32)\n".utf8)
        for index in 2..<bytes.count - 1 {
            for bit in 0..<7 {
                var damaged = bytes
                damaged[index] ^= 1 << UInt8(bit)
                guard damaged[index] != 0x3A, damaged[index] != 0x0A else { continue }
                let identities = try? PSKFile.parse(damaged, file: "f").map(\.identity)
                #expect(identities == nil || identities == [[0x61]])
            }
        }
    }

    @Test("a million lines are read")
    func size() throws {
        let bytes = Array("[debug]\n".utf8) + Array(String(repeating: "#\n", count: 1_000_000).utf8)
        #expect(try INIDocument.parse(bytes, file: "f").entries.isEmpty)
    }

    @Test("every seed of the fuzzer is read or refused with a place")
    func corpus() throws {
        let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .appending(path: "Fuzz/corpus/settings")
        let seeds = try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
        var outcomes: Set<Bool> = []
        for seed in seeds {
            let bytes = try [UInt8](Data(contentsOf: seed))
            let selector = try #require(bytes.first)
            let rest = Array(bytes.dropFirst())
            let name = Comment(rawValue: seed.lastPathComponent)
            outcomes.insert(selector & 1 == 0 ? readSettings(rest, name) : readPSKs(rest, name))
        }
        #expect(outcomes == [true, false])
    }
}
