import Foundation
import Glibc
import Handshake
import Settings
import TestSupport
import Testing
import Unconfined
import Wire

@testable import Broker

/// Files that are exchanged by whoever renews them.
@Suite("Renewals")
struct RenewalTests {
    private let folder = TemporaryDirectory()

    /// - Parameter text: of a PEM file what stands in its block.
    private func write(_ name: String, _ text: String) throws {
        let path = folder.path(name)
        let block = "-----BEGIN CERTIFICATE-----\n\(text)\n-----END CERTIFICATE-----\n"
        try FileManager.default.createDirectory(
            atPath: (path as NSString).deletingLastPathComponent, withIntermediateDirectories: true)
        try Data((name.hasSuffix(".pem") ? block : text).utf8).write(to: URL(filePath: path))
    }

    /// Puts a link in the place of another, as one step.
    private func link(_ name: String, to target: String) throws {
        let (path, temporary) = (folder.path(name), folder.path(name + ".new"))
        try FileManager.default.createSymbolicLink(atPath: temporary, withDestinationPath: target)
        let result = unsafe rename(temporary, path)
        #expect(result == 0)
    }

    private func settings(_ place: String) -> RoleSettings {
        func located(_ name: String) -> Located<String> { Located(folder.path(place + name), origin: .builtIn) }
        var settings = RoleSettings()
        settings.trustStore = located("ca.pem")
        settings.certificate = Located(.file(located("fullchain.pem").value), origin: .builtIn)
        settings.privateKey = Located(.file(located("privkey.pem").value), origin: .builtIn)
        return settings
    }

    private static let owner = CredentialsOwner(.standard, .server)

    /// What a look finds new, as ``contents(_:)`` has it; `nil` for nothing.
    private func read(_ place: String, into state: inout RoleCredentialState) throws -> [String]? {
        state.refresh(settings: settings(place), patience: BrokerBench.patience).send.map(contents)
    }

    /// What the blocks of the copies hold, in the order of the message.
    private func contents(_ set: CredentialSet) -> [String] {
        (set.descriptors + set.keyDescriptors).map { number in
            var bytes = [UInt8](repeating: 0, count: 128)
            let count = unsafe pread(number, &bytes, bytes.count, 0)
            let lines = bytes.prefix(max(0, count)).split(separator: 0x0A)
            return lines.count == 3 ? String(decoding: lines[1], as: UTF8.self) : "no block"
        }
    }

    /// certbot's files of two generations, the first of which is linked to.
    private func makeArchive() throws {
        for number in [1, 2] {
            for name in ["fullchain", "privkey"] { try write("archive/\(name)\(number).pem", "\(name) \(number)") }
        }
        try write("live/ca.pem", "ca")
        for name in ["fullchain", "privkey"] { try link("live/\(name).pem", to: "../archive/\(name)1.pem") }
    }

    @Test("certbot's links are followed: a renewal is read once both links lead to it, without a restart")
    func letsEncrypt() throws {
        try makeArchive()
        var state = RoleCredentialState(Self.owner)
        #expect(try read("live/", into: &state) == ["ca", "fullchain 1", "privkey 1"])
        #expect(try read("live/", into: &state) == nil)
        for name in ["fullchain", "privkey"] { try link("live/\(name).pem", to: "../archive/\(name)2.pem") }
        #expect(try read("live/", into: &state) == ["ca", "fullchain 2", "privkey 2"])
    }

    @Test("a renewal that is seen between its two links leaves the former pair in force, and the next look has both")
    func between() throws {
        try makeArchive()
        var state = RoleCredentialState(Self.owner)
        let first = try #require(state.refresh(settings: settings("live/"), patience: BrokerBench.patience).send)
        func judge(_ set: CredentialSet, _ problem: String) -> Bool? {
            let generation = set.message.generation
            _ = state.judge(
                SignerVerdict(
                    owner: Self.owner, generation: generation, problem: "", isPassing: false,
                    parts: [Array("public".utf8)]))
            let verdict = CredentialsVerdict(
                owner: Self.owner, generation: generation, problem: problem, summary: "fine")
            return state.judge(verdict).lines.first.map { $0.kind == .error }
        }
        _ = judge(first, "")
        try link("live/fullchain.pem", to: "../archive/fullchain2.pem")
        let half = try #require(state.refresh(settings: settings("live/"), patience: BrokerBench.patience).send)
        let isHalfRefused = judge(half, "no certificate belongs to the key")
        #expect(isHalfRefused == true)
        #expect(state.inForce === first)
        try link("live/privkey.pem", to: "../archive/privkey2.pem")
        let whole = try #require(state.refresh(settings: settings("live/"), patience: BrokerBench.patience).send)
        #expect(contents(whole) == ["ca", "fullchain 2", "privkey 2"])
        let isWholeRefused = judge(whole, "")
        #expect(isWholeRefused == false)
        #expect(state.inForce === whole)
    }

    @Test("a Kubernetes secret is exchanged by its ..data link, all files at once, and never read half")
    func kubernetes() throws {
        func version(_ number: Int) throws {
            for name in ["ca", "fullchain", "privkey"] { try write("..\(number)/\(name).pem", "\(name) \(number)") }
        }
        try version(1)
        try link("..data", to: "..1")
        for name in ["ca", "fullchain", "privkey"] { try link("\(name).pem", to: "..data/\(name).pem") }
        var state = RoleCredentialState(Self.owner)
        #expect(try read("", into: &state) == ["ca 1", "fullchain 1", "privkey 1"])
        for number in 2...20 {
            try version(number)
            try link("..data", to: "..\(number)")
            let all = ["ca", "fullchain", "privkey"].map { "\($0) \(number)" }
            #expect(try read("", into: &state) == all)
        }
    }

    @Test("session tags are read again when their files change, and a mistake leaves the former ones")
    func tags() throws {
        let log = DaemonLog(Journal(.automatic), level: 0)
        try write("tags/a.yml", "tags: {one: {filter: []}}\n")
        try write("tags/ignored.example", "[")
        var tags = try TagFolder(folder.path("tags"), log: log)
        #expect(tags.names == ["one"])
        let isNew1 = tags.refresh(force: false, patience: BrokerBench.patience, log: log)
        #expect(!isNew1)
        try write("tags/b.yaml", "tags: {two: {filter: [missing]}}\n")
        let isNew2 = tags.refresh(force: false, patience: BrokerBench.patience, log: log)
        #expect(!isNew2)
        #expect(tags.names == ["one"])
        #expect(tags.problem.hasPrefix("the former session tags stay in force: \(folder.path("tags/b.yaml")):1:"))
        try write("tags/c.yml", "filters: {missing: {type: x509.derived.selfSigned}}\n")
        let isNew3 = tags.refresh(force: false, patience: BrokerBench.patience, log: log)
        #expect(isNew3)
        #expect(tags.names == ["one", "two"] && tags.problem.isEmpty)
        try FileManager.default.removeItem(atPath: folder.path("tags"))
        let isNew4 = tags.refresh(force: false, patience: BrokerBench.patience, log: log)
        #expect(isNew4)
        #expect(tags.names.isEmpty)
    }

    @Test("broken session tags are no start, with the place; a folder that is not there has none")
    func brokenTags() throws {
        let log = DaemonLog(Journal(.automatic), level: 0)
        #expect(try TagFolder(folder.path("nothing"), log: log).names.isEmpty)
        try write("tags/a.yml", "tags:\n  one: {filter: [x]}\n")
        let failure = #expect(throws: TextError.self) { _ = try TagFolder(folder.path("tags"), log: log) }
        #expect(failure?.description.contains("/tags/a.yml:2:18: no file defines a filter of this name") == true)
    }
}
