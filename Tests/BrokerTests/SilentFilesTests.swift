import CKeyutils
import Control
import Foundation
import Glibc
import Handshake
import KernelWire
import Policy
import Settings
import TestSupport
import Testing
import Wire

@testable import Broker
@testable import Keyrings
@testable import System
@testable import Unconfined

/// Files on a file system that does not answer: the former state stays in force, and nothing else waits with them.
@Suite("Files that do not answer, and the broker", .serialized)
final class SilentFilesTests: BrokerBench {
    /// Nothing is to wait for files that do not answer.
    override var patience: UInt64 { FilePatience.moment }

    private let owner = CredentialsOwner(.standard, .client)

    private func write(_ name: String, _ text: String) throws {
        try Data(text.utf8).write(to: URL(filePath: path(name)))
        _ = unsafe chmod(path(name), 0o600)
    }

    /// A moment of a look that is not to wait.
    private static let short: UInt64 = 1_000_000

    private var threads: FileThreads { FileThreads(clock: clock.now) }

    /// Looks, lets pass the time after which it is complained about, and looks again.
    private func complaint(at gate: Gate, _ look: () -> String?) throws -> String {
        #expect(look() == nil)
        try wait { gate.isReached }
        clock.pass(FilePatience.complaint)
        return try #require(look())
    }

    @Test("credentials stay in force, the log and the status name the file, and it is read when it answers")
    func credentials() throws {
        try write("ca.pem", "one")
        var settings = RoleSettings()
        settings.trustStore = Located(path("ca.pem"), origin: .builtIn)
        var state = RoleCredentialState(owner, threads: threads)
        let first = try #require(state.refresh(settings: settings, patience: BrokerBench.patience).send)
        _ = state.judge(.init(owner: owner, generation: first.message.generation, problem: "", summary: "fine"))
        let gate = Gate(path("ca.pem"))
        state.files.obstacle = gate.pass
        try write("ca.pem", "two")
        let line = try complaint(at: gate) { state.refresh(settings: settings, patience: Self.short).errors.first }
        #expect(line.hasPrefix("client credentials: \(path("ca.pem")) does not answer: reading it has taken "))
        #expect(
            line.hasSuffix("; remedy: check that the server of its file system is up; the former ones stay in force"))
        #expect(state.inForce === first && state.candidate == nil && !state.awaitsFiles)
        let report = state.report(profile: "")
        #expect(report.inForce && report.problem.hasPrefix("\(path("ca.pem")) does not answer"))
        gate.open()
        var notices: [String] = []
        try wait {
            notices += state.refresh(settings: settings).notices
            return state.candidate != nil
        }
        #expect(state.candidate != nil && state.report(profile: "").problem.isEmpty)
        #expect(notices.contains { $0.hasPrefix("client credentials: \(path("ca.pem")) answers again, after ") })
    }

    @Test("at the start the others are served; who needs the file is told which, and is served once it answers")
    func start() throws {
        let broker = try broker("[authenticate.client]\nx509.truststore=\(path("ca.pem"))\n")
        try write("ca.pem", "no certificate")
        let gate = Gate(path("ca.pem"))
        defer { gate.open() }
        broker.reload.refreshSettings()
        broker.credentials[owner]?.files.obstacle = gate.pass
        try ready(broker)
        #expect(broker.credentials[owner]?.awaitsFiles == true)
        try turn(broker) { broker.credentials[CredentialsOwner(.standard, .server)]?.files.isPending == false }
        let peer = try upcall.ask(client)
        broker.upcalls.drainAll()
        #expect(broker.handshakes.table.count == 1 && upcall.answers.isEmpty, "it may answer in a moment")
        try wait { gate.isReached }
        clock.pass(FilePatience.complaint)
        try conclude(broker)
        let record = try #require(broker.control.history.newest(1).first)
        #expect(record.text.contains("\(path("ca.pem")) does not answer: reading it has taken"), "\(record.text)")
        #expect(broker.control.report().problems.contains { $0.text.contains("\(path("ca.pem")) does not answer") })
        gate.open()
        try turn(broker) { broker.credentials[owner]?.problem.contains("holds no certificate") == true }
        peer.close()
    }

    @Test("settings that do not answer are no start, with the file's name; later the former ones stay in force")
    func settings() throws {
        let gate = Gate(path("tlshd.conf"))
        defer { gate.open() }
        try write("tlshd.conf", "[debug]\nloglevel=1\n")
        var options = DaemonOptions()
        options.configuration = path("tlshd.conf")
        let log = DaemonLog(Journal(.automatic), level: 0)
        let failure = #expect(throws: TextError.self) {
            _ = try Configuration(options: options, log: log, obstacle: gate.pass)
        }
        #expect(failure?.description.hasPrefix("\(path("tlshd.conf")) does not answer: reading it has taken") == true)
        var configuration = try Configuration(options: options, log: log, threads: threads)
        let later = Gate(path("tlshd.conf"))
        configuration.files.obstacle = later.pass
        try write("tlshd.conf", "[debug]\nloglevel=2\n")
        let problem = try complaint(at: later) {
            let isNew = configuration.refresh(force: false, patience: Self.short, log: log)
            #expect(!isNew)
            return configuration.problem.isEmpty ? nil : configuration.problem
        }
        #expect(problem.hasSuffix("the settings from \(path("tlshd.conf")) stay in force"))
        #expect(configuration.logLevel == 1)
        later.open()
        try wait {
            _ = configuration.refresh(force: false, log: log)
            return configuration.logLevel != 1
        }
        #expect(configuration.logLevel == 2 && configuration.problem.isEmpty)
    }

    @Test("session tags stay in force")
    func tags() throws {
        let log = DaemonLog(Journal(.automatic), level: 0)
        try FileManager.default.createDirectory(atPath: path("tags"), withIntermediateDirectories: true)
        try write("tags/a.yml", "tags: {one: {filter: []}}\n")
        var tags = try TagFolder(path("tags"), log: log, threads: threads)
        let gate = Gate(path("tags"))
        tags.files.obstacle = gate.pass
        try write("tags/a.yml", "tags: {two: {filter: []}}\n")
        let problem = try complaint(at: gate) {
            let isNew = tags.refresh(force: false, patience: Self.short, log: log)
            #expect(!isNew)
            return tags.problem.isEmpty ? nil : tags.problem
        }
        #expect(problem.hasPrefix("\(path("tags")) does not answer: ") && tags.names == ["one"])
        gate.open()
        try wait {
            _ = tags.refresh(force: false, log: log)
            return tags.names != ["one"]
        }
        #expect(tags.names == ["two"] && tags.problem.isEmpty)
    }

    @Test("keys of a file stay where they are, and are brought up to date when it answers")
    func keys() throws {
        let name = "tlshd-test-\(UUID().uuidString)", key = String(repeating: "5a", count: 32)
        try write("keys", "one:\(key)\n")
        let broker = try broker("[authenticate]\npsk.file=\(path("keys"))\npsk.keyring=\(name)\n")
        broker.keys.fileKeyType = "user"
        let serial = unsafe add_key("keyring", name, nil, 0, KEY_SPEC_PROCESS_KEYRING)
        let keyring = Keyring(try #require(KeySerial(serial)))
        try wait(meanwhile: { broker.reload.look() }, until: { try !keyring.members().isEmpty })
        let first = try keyring.members()
        #expect(first.count == 1)
        let gate = Gate(path("keys"))
        broker.keys.file.files.obstacle = gate.pass
        try write("keys", "two:\(key)\n")
        let problem = try complaint(at: gate) {
            broker.reload.refreshKeys(patience: Self.short)
            return broker.keys.problem.isEmpty ? nil : broker.keys.problem
        }
        #expect(problem.hasPrefix("\(path("keys")) does not answer: "))
        #expect(problem.hasSuffix("the keys that were there stay"))
        #expect(try keyring.members() == first)
        let now = broker.loop.now
        #expect(broker.reload.nextLook(after: now) == now + 1_000_000_000, "nothing spins meanwhile")
        gate.open()
        try wait(meanwhile: { broker.reload.look() }, until: { try keyring.members() != first })
        #expect(try Key(keyring.members()[0]).describe().description == Array("two".utf8))
        #expect(broker.keys.problem.isEmpty)
    }

    @Test("a file of figures that cannot be written delays nothing")
    func figures() throws {
        let file = MetricsFile(), gate = Gate(path("tlshd.prom"))
        file.files = FileWatch(threads)
        file.files.obstacle = gate.pass
        var now: UInt64 = 1
        let line = try complaint(at: gate) {
            now += 1
            return file.refresh(path: path("tlshd.prom"), now: now) { "one\n" }.first?.text
        }
        #expect(line.hasPrefix("\(path("tlshd.prom")) does not answer: "))
        #expect(line.hasSuffix("figures are not written meanwhile") && file.problem.hasSuffix("not written meanwhile"))
        gate.open()
        try wait {
            _ = file.refresh(path: path("tlshd.prom"), now: now) { "two\n" }
            return file.problem.isEmpty
        }
        #expect(FileManager.default.contents(atPath: path("tlshd.prom")) == Data("one\n".utf8))

        // Another place does not wait for the former one.
        let other = Gate(path("tlshd.prom"))
        defer { other.open() }
        file.files.obstacle = other.pass
        file.removal.obstacle = other.pass
        _ = file.refresh(path: path("tlshd.prom"), now: now + MetricsFile.period) { "two\n" }
        #expect(file.refresh(path: path("other.prom"), now: now + MetricsFile.period) { "three\n" }.isEmpty)
        try wait { FileManager.default.contents(atPath: path("other.prom")) == Data("three\n".utf8) }
    }
}
