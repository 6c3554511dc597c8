import Control
import Foundation
import Handshake
import Settings
import System
import TestSupport
import Testing
import Unconfined
import Wire

@testable import Broker

@Suite("A role's credentials through time")
struct RoleCredentialStateTests {
    private let folder = TemporaryDirectory()

    private func write(_ name: String, _ text: String, mode: Int = 0o600) throws -> Located<String> {
        let path = folder.path(name)
        try Data(text.utf8).write(to: URL(filePath: path))
        try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: path)
        return Located(path, origin: .builtIn)
    }

    private func settings(trustStore: Located<String>) -> RoleSettings {
        var settings = RoleSettings()
        settings.trustStore = trustStore
        return settings
    }

    private func accept(_ state: inout RoleCredentialState, _ generation: UInt32, problem: String = "") -> String? {
        state.judge(
            CredentialsVerdict(
                owner: CredentialsOwner(.standard, .client), generation: generation, problem: problem,
                summary: "1 authority")
        ).lines.first?.text
    }

    @Test("what is read is sent once, and is in force when a worker accepts it")
    func accepted() throws {
        var state = RoleCredentialState(CredentialsOwner(.standard, .client))
        let settings = settings(trustStore: try write("ca.pem", "one"))
        let sent = try #require(state.refresh(settings: settings, patience: BrokerBench.patience).send)
        #expect(sent.message.kinds == [.trustStore])
        #expect(sent.descriptors.count == 1)
        #expect(state.inForce == nil)
        #expect(state.refresh(settings: settings, patience: BrokerBench.patience).send == nil)
        #expect(accept(&state, sent.message.generation) == "client credentials: 1 authority")
        #expect(state.inForce === sent)
        #expect(accept(&state, sent.message.generation) == nil, "each worker's verdict would repeat the line")
    }

    @Test("what a worker found in the files is told under the names that the settings gave them")
    func facts() throws {
        var state = RoleCredentialState(CredentialsOwner(.standard, .client))
        var settings = settings(trustStore: try write("ca.pem", "one"))
        settings.crl = try write("crl.pem", "two")
        let sent = try #require(state.refresh(settings: settings, patience: BrokerBench.patience).send)
        #expect(state.report(profile: "").certificates.isEmpty)
        var facts = CredentialsFacts()
        let description = CertificateDescription(subject: "CN=a", issuer: "CN=b", notBefore: 5, notAfter: 7)
        facts.add(.init(kind: .certificate, pair: 9, description))
        facts.authorities = 4
        facts.revocationLists = 2
        facts.nextUpdate = 8
        _ = state.judge(
            CredentialsVerdict(
                owner: state.owner, generation: sent.message.generation, problem: "", summary: "s", facts: facts))
        let report = state.report(profile: "blue")
        #expect(report.profile == "blue" && report.role == "client" && report.inForce && report.authorities == 4)
        #expect(report.certificates == [.init(file: "", subject: "CN=a", issuer: "CN=b", notBefore: 5, notAfter: 7)])
        let path = folder.path("crl.pem")
        #expect(report.revocation == .init(file: path, lists: 2, nextUpdate: 8))
    }

    @Test("a server that presents a certificate and trusts whom the system trusts is a warning, told once")
    func publicTrust() throws {
        let pair = [Located(PrivateKeySource.file(folder.path("cert")), origin: .builtIn)]
        _ = try write("cert", "c")
        func warnings(_ role: Role, _ change: (inout RoleSettings) throws -> Void) throws -> [String] {
            var state = RoleCredentialState(CredentialsOwner(.standard, role), profile: "blue")
            var settings = RoleSettings()
            try change(&settings)
            let sent = try #require(state.refresh(settings: settings, patience: BrokerBench.patience).send)
            var facts = CredentialsFacts()
            facts.authorities = 139
            #expect(state.warnings.isEmpty && state.takeWarning() == nil, "not before it is in force")
            _ = state.judge(
                CredentialsVerdict(
                    owner: state.owner, generation: sent.message.generation, problem: "", summary: "s", facts: facts))
            let told = [state.takeWarning(), state.takeWarning()].compactMap(\.self)
            #expect(told == state.warnings)
            return told
        }
        let certificate: (inout RoleSettings) -> Void = { $0.certificate = pair.first }
        let found = try warnings(.server, certificate)
        #expect(found.count == 1)
        let line = try #require(found.first)
        #expect(line.hasPrefix("profile blue, server credentials: x509.truststore is not set"))
        #expect(
            line.contains("any of the 139 authorities of ") && line.contains("xprtsec=mtls; remedy: name the authority")
        )
        #expect(try warnings(.client, certificate).isEmpty)
        #expect(try warnings(.server) { _ in }.isEmpty, "it serves nobody")
        let trust = try write("ca.pem", "ca")
        let named = try warnings(.server) { settings in
            certificate(&settings)
            settings.trustStore = trust
        }
        #expect(named.isEmpty)
        let pinned = try warnings(.server) { settings in
            certificate(&settings)
            settings.rules.pins = [Pin(.key, Array(repeating: 0, count: 32))]
        }
        #expect(pinned.isEmpty)
    }

    @Test("what workers find fault with in files that are in force is a warning as long as they are")
    func foundFault() throws {
        var state = RoleCredentialState(CredentialsOwner(.standard, .client))
        let settings = settings(trustStore: try write("ca.pem", "one"))
        func take(_ warning: String, problem: String = "") throws -> [String] {
            let sent = try #require(state.refresh(settings: settings, force: true, patience: BrokerBench.patience).send)
            var facts = CredentialsFacts()
            facts.warning = warning
            _ = state.judge(
                CredentialsVerdict(
                    owner: state.owner, generation: sent.message.generation, problem: problem, summary: "s",
                    facts: facts))
            return state.warnings
        }
        #expect(try take("") == [])
        #expect(try take("CN=small has a small key") == ["client credentials: CN=small has a small key"])
        #expect(
            try take("", problem: "broken") == ["client credentials: CN=small has a small key"], "it stays in force")
        #expect(try take("") == [])
    }

    @Test("files that others can write are named as long as they are")
    func openFiles() throws {
        var state = RoleCredentialState(CredentialsOwner(.standard, .client))
        let settings = settings(trustStore: try write("ca.pem", "one", mode: 0o666))
        let line = "\(folder.path("ca.pem")) can be written by others; remedy: chmod go-w \(folder.path("ca.pem"))"
        #expect(state.refresh(settings: settings, patience: BrokerBench.patience).notices == [line])
        #expect(
            state.refresh(settings: settings, force: true, patience: BrokerBench.patience).notices.isEmpty
                && state.warnings == [line])
        _ = try write("ca.pem", "one")
        _ = state.refresh(settings: settings, patience: BrokerBench.patience)
        #expect(state.warnings.isEmpty)
    }

    private static let certificate = "-----BEGIN CERTIFICATE-----\nQ0VSVA==\n-----END CERTIFICATE-----\n"
    private static let key = "-----BEGIN PRIVATE KEY-----\nU0VDUkVU\n-----END PRIVATE KEY-----\n"
    private static let list = "-----BEGIN X509 CRL-----\nQ1JM\n-----END X509 CRL-----\n"

    /// What workers, or the signer, read of the copies that they are sent.
    private func texts(_ descriptors: [Int32]) throws -> [String] {
        try descriptors.map { number in
            let contents = try SealedContents(of: OwnedDescriptor(adopting: dup(number)))
            return contents.withSpan { span in String(decoding: span.indices.map { span[$0] }, as: UTF8.self) }
        }
    }

    @Test("a private key that is in the same file as certificates reaches the signer and no worker")
    func keyBesideCertificate() throws {
        var state = RoleCredentialState(CredentialsOwner(.standard, .server))
        var settings = settings(trustStore: try write("ca.pem", Self.certificate + Self.key))
        let both = try write("both.pem", "text\n" + Self.key + Self.certificate)
        settings.certificate = Located(.file(both.value), origin: .builtIn)
        settings.privateKey = settings.certificate
        settings.crl = try write("crl.pem", Self.key + Self.list)
        let sent = try #require(state.refresh(settings: settings, patience: BrokerBench.patience).send)
        #expect(sent.message.kinds == [.trustStore, .revocationList, .certificate])
        #expect(
            try texts(sent.descriptors) == [
                Self.certificate + "\n\n\n", "\n\n\n" + Self.list, "\n\n\n\n" + Self.certificate,
            ])
        #expect(try texts(sent.keyDescriptors) == ["text\n" + Self.key + Self.certificate])
    }

    @Test("a folder of revocation lists is read whole, in PEM and in DER, and again when a file comes, changes or goes")
    func folderOfLists() throws {
        var state = RoleCredentialState(CredentialsOwner(.standard, .client))
        var settings = settings(trustStore: try write("ca.pem", Self.certificate))
        let lists = folder.path("lists")
        try FileManager.default.createDirectory(atPath: lists, withIntermediateDirectories: false)
        settings.crl = Located(lists, origin: .builtIn)
        let none = state.refresh(settings: settings, patience: BrokerBench.patience)
        #expect(none.send == nil && none.errors.count == 1)
        #expect(none.errors.first?.contains("\(lists): the folder has no files that end in .pem, .crl, .der") ?? false)
        _ = try write("lists/b.crl", Self.list)
        _ = try write("lists/readme", "no list")
        let der: [UInt8] = [0x30, 0x81, 0x03, 0x30, 0x01, 0x00]
        try Data(der).write(to: URL(filePath: "\(lists)/a.der"))
        let text =
            "tlshd file: \(lists)/a.der\n-----BEGIN X509 CRL-----\n\(Data(der).base64EncodedString())\n"
            + "-----END X509 CRL-----\ntlshd file: \(lists)/b.crl\n\(Self.list)"
        let first = try #require(state.refresh(settings: settings, patience: BrokerBench.patience).send)
        #expect(first.message.files.last?.path == lists)
        #expect(try texts(first.descriptors).last == text)
        #expect(state.refresh(settings: settings, patience: BrokerBench.patience).send == nil)
        _ = try write("lists/b.crl", Self.list + Self.list)
        let second = try #require(state.refresh(settings: settings, patience: BrokerBench.patience).send)
        #expect(try texts(second.descriptors).last == text + Self.list)
        try FileManager.default.removeItem(atPath: "\(lists)/a.der")
        #expect(state.refresh(settings: settings, patience: BrokerBench.patience).send != nil)
    }

    @Test("the newest lists that were in force are told with each new generation, whatever is in force later")
    func floors() throws {
        var state = RoleCredentialState(CredentialsOwner(.standard, .client))
        let settings = settings(trustStore: try write("ca.pem", Self.certificate))
        func turn(_ number: UInt8?) throws -> [RevocationFloor] {
            let sent = try #require(state.refresh(settings: settings, force: true, patience: BrokerBench.patience).send)
            var facts = CredentialsFacts()
            let issuer = [UInt8](repeating: 7, count: 32)
            facts.floors = number.map { [RevocationFloor(issuer: issuer, number: [$0], thisUpdate: 5)] } ?? []
            _ = state.judge(
                CredentialsVerdict(
                    owner: state.owner, generation: sent.message.generation, problem: "", summary: "s", facts: facts))
            return sent.message.floors
        }
        #expect(try turn(2).isEmpty)
        #expect(try turn(nil).map(\.number) == [[2]])
        #expect(try turn(1).map(\.number) == [[2]])
        #expect(try turn(3).map(\.number) == [[2]])
        #expect(try turn(nil).map(\.number) == [[3]])
    }

    @Test("a changed file is sent as a new generation; a refused one leaves the former in force and says so")
    func refused() throws {
        var state = RoleCredentialState(CredentialsOwner(.standard, .client))
        let settings = settings(trustStore: try write("ca.pem", "one"))
        let first = try #require(state.refresh(settings: settings, patience: BrokerBench.patience).send)
        _ = accept(&state, first.message.generation)
        _ = try write("ca.pem", "three")
        let second = try #require(state.refresh(settings: settings, patience: BrokerBench.patience).send)
        #expect(second.message.generation > first.message.generation)
        let line = accept(&state, second.message.generation, problem: "ca.pem holds no certificate")
        #expect(line == "client credentials: ca.pem holds no certificate; the former ones stay in force")
        #expect(state.inForce === first)
        #expect(
            state.refresh(settings: settings, patience: BrokerBench.patience).send == nil,
            "the same broken file is not tried again")
    }

    @Test("one that was replaced before its verdict came, and is found good, is in force until the next is")
    func overtaken() throws {
        var state = RoleCredentialState(CredentialsOwner(.standard, .client))
        let settings = settings(trustStore: try write("ca.pem", "one"))
        let first = try #require(state.refresh(settings: settings, patience: BrokerBench.patience).send)
        _ = accept(&state, first.message.generation)
        var change = state.refresh(settings: settings, force: true, patience: BrokerBench.patience)
        let second = try #require(change.send)
        change = state.refresh(settings: settings, force: true, patience: BrokerBench.patience)
        let third = try #require(change.send)
        #expect(change.released.isEmpty, "workers may have it in force")
        let judged = state.judge(
            CredentialsVerdict(
                owner: state.owner, generation: second.message.generation, problem: "", summary: "1 authority"))
        #expect(judged.released.map(\.message.generation) == [first.message.generation])
        #expect(state.inForce === second && state.candidate === third)
        #expect(accept(&state, third.message.generation, problem: "it is broken")?.hasSuffix("stay in force") == true)
        #expect(state.inForce === second)
    }

    @Test("a good verdict that comes late does not hide that the newest files cannot be read")
    func late() throws {
        var state = RoleCredentialState(CredentialsOwner(.standard, .client))
        let settings = settings(trustStore: try write("ca.pem", "one"))
        let first = try #require(state.refresh(settings: settings, patience: BrokerBench.patience).send)
        try FileManager.default.removeItem(atPath: folder.path("ca.pem"))
        #expect(state.refresh(settings: settings, patience: BrokerBench.patience).errors.count == 1)
        #expect(accept(&state, first.message.generation) != nil)
        #expect(state.inForce === first && state.problem.contains("No such file"))
    }

    @Test("those that nobody judges do not pile up")
    func unjudged() throws {
        var state = RoleCredentialState(CredentialsOwner(.standard, .client))
        let settings = settings(trustStore: try write("ca.pem", "one"))
        var gone: [UInt32] = []
        for _ in 1...20 {
            let change = state.refresh(settings: settings, force: true, patience: BrokerBench.patience)
            gone += change.released.map(\.message.generation)
        }
        #expect(gone == Array(1...14))
        #expect(state.currentSets.map(\.message.generation) == Array(15...20))
    }

    @Test("one that was replaced before its verdict came, and is refused, goes without a line")
    func overtakenAndRefused() throws {
        var state = RoleCredentialState(CredentialsOwner(.standard, .client))
        let settings = settings(trustStore: try write("ca.pem", "one"))
        let first = try #require(state.refresh(settings: settings, patience: BrokerBench.patience).send)
        let second = try #require(state.refresh(settings: settings, force: true, patience: BrokerBench.patience).send)
        let judged = state.judge(
            CredentialsVerdict(
                owner: state.owner, generation: first.message.generation, problem: "it is broken", summary: ""))
        #expect(judged.lines.isEmpty)
        #expect(judged.released.map(\.message.generation) == [first.message.generation])
        #expect(accept(&state, second.message.generation) != nil)
        #expect(state.inForce === second)
    }

    /// The first generation is in force with workers 1 to 3; all have been sent the second.
    private func renewed() throws -> (state: RoleCredentialState, first: CredentialSet, second: CredentialSet) {
        var state = RoleCredentialState(CredentialsOwner(.standard, .client))
        let settings = settings(trustStore: try write("ca.pem", "one"))
        let first = try #require(state.refresh(settings: settings, patience: BrokerBench.patience).send)
        for worker in 1...3 { _ = say(&state, worker, of: first) }
        let second = try #require(state.refresh(settings: settings, force: true, patience: BrokerBench.patience).send)
        return (state, first, second)
    }

    private func say(
        _ state: inout RoleCredentialState, _ worker: Int, of set: CredentialSet, problem: String = ""
    ) -> RoleCredentialState.Judgement {
        state.judge(
            CredentialsVerdict(
                owner: state.owner, generation: set.message.generation, problem: problem, summary: "1 authority"),
            by: worker)
    }

    private func numbers(_ sets: [CredentialSet]) -> [UInt32] { sets.map(\.message.generation) }

    @Test("keys are released when the last worker has accepted newer ones, or has ended")
    func released() throws {
        var (state, first, second) = try renewed()
        #expect(say(&state, 1, of: second).released.isEmpty && state.inForce === second)
        #expect(numbers(state.currentSets) == numbers([first, second]), "two workers use the first")
        #expect(say(&state, 2, of: second).released.isEmpty)
        let last = state.forget(WorkerID(3))
        #expect(numbers(last.released) == numbers([first]) && last.lines.isEmpty && last.distrusted.isEmpty)
        #expect(state.inForce === second)
    }

    @Test("a false acceptance releases no keys, is told, and its worker is replaced")
    func falseAcceptance() throws {
        var (state, first, second) = try renewed()
        let lie = say(&state, 1, of: second)
        #expect(lie.released.isEmpty && lie.lines.count == 1)
        let other = say(&state, 2, of: second, problem: "it is broken")
        #expect(other.released.isEmpty && other.distrusted.isEmpty, "the third has not answered")
        #expect(other.lines.map(\.kind) == [.error] && other.lines[0].text.contains("contradict"))
        let third = say(&state, 3, of: second, problem: "it is broken")
        #expect(third.distrusted == [WorkerID(1)] && third.lines.isEmpty && third.released.isEmpty)
        #expect(state.inForce === first && state.problem == "it is broken")
        #expect(numbers(state.currentSets) == numbers([first, second]), "the first worker signs with the second")
        let end = state.forget(WorkerID(1))
        #expect(numbers(end.released) == numbers([second]))
        #expect(state.inForce === first)
    }

    @Test("a false refusal releases no keys, is told, and its worker is replaced")
    func falseRefusal() throws {
        var (state, first, second) = try renewed()
        let lie = say(&state, 1, of: second, problem: "a lie")
        #expect(lie.released.isEmpty && state.inForce === first && state.problem == "a lie")
        #expect(say(&state, 2, of: second).lines.map(\.kind) == [.error])
        let third = say(&state, 3, of: second)
        #expect(third.distrusted == [WorkerID(1)] && third.released.isEmpty)
        #expect(state.inForce === second && state.problem.isEmpty)
        #expect(numbers(state.forget(WorkerID(1)).released) == numbers([first]))
    }

    @Test("where as many accept as refuse, all are replaced, and their successors decide")
    func tie() throws {
        var (state, first, second) = try renewed()
        _ = state.forget(WorkerID(3))
        _ = say(&state, 1, of: second)
        #expect(say(&state, 2, of: second, problem: "it is broken").distrusted == [WorkerID(1), WorkerID(2)])
        // The successors get both.
        for worker in 4...5 {
            _ = say(&state, worker, of: first)
            #expect(say(&state, worker, of: second, problem: "it is broken").released.isEmpty)
        }
        #expect(state.inForce === first)
        #expect(numbers(state.forget(WorkerID(1)).released) == numbers([second]))
        #expect(state.forget(WorkerID(2)).released.isEmpty)
        #expect(state.inForce === first && state.problem == "it is broken")
    }

    @Test("one worker alone raises no floor of revocation lists: it is the lowest that all have told")
    func commonFloors() throws {
        var state = RoleCredentialState(CredentialsOwner(.standard, .client))
        let settings = settings(trustStore: try write("ca.pem", "one"))
        func floor(_ issuer: UInt8, _ number: UInt8) -> RevocationFloor {
            RevocationFloor(issuer: [UInt8](repeating: issuer, count: 32), number: [number], thisUpdate: 5)
        }
        let first = try #require(state.refresh(settings: settings, patience: BrokerBench.patience).send)
        for worker in 1...2 { state.noteSent(first, to: WorkerID(worker)) }
        for (worker, floors) in [(1, [floor(7, 200), floor(8, 1)]), (2, [floor(7, 2)])] {
            var facts = CredentialsFacts()
            facts.floors = floors
            _ = state.judge(
                CredentialsVerdict(
                    owner: state.owner, generation: first.message.generation, problem: "", summary: "s", facts: facts),
                by: worker)
        }
        let next = try #require(state.refresh(settings: settings, force: true, patience: BrokerBench.patience).send)
        #expect(next.message.floors == [floor(7, 2)])
    }

    @Test("a worker that accepts nothing new is replaced before the sets that it holds on to pile up")
    func hoarder() throws {
        var (state, first, _) = try renewed()
        let settings = settings(trustStore: Located(folder.path("ca.pem"), origin: .builtIn))
        var distrusted: [WorkerID] = []
        for _ in 1...8 {
            let change = state.refresh(settings: settings, force: true, patience: BrokerBench.patience)
            distrusted += change.distrusted
            for worker in 2...3 { _ = say(&state, worker, of: try #require(change.send)) }
        }
        #expect(Set(distrusted) == [WorkerID(1)])
        #expect(state.set(first.message.generation) == nil && state.currentSets.count <= 6)
    }

    @Test("a server that nobody gave a certificate is no problem, and one that lost its own is")
    func unused() throws {
        var state = RoleCredentialState(CredentialsOwner(.standard, .server))
        var settings = settings(trustStore: try write("ca.pem", "one"))
        func judge(_ generation: UInt32, _ problem: String) -> (text: String, isError: Bool)? {
            let owner = CredentialsOwner(.standard, .server)
            return state.judge(
                CredentialsVerdict(owner: owner, generation: generation, problem: problem, summary: "s")
            ).lines.first.map { ($0.text, $0.kind == .error) }
        }
        let first = try #require(state.refresh(settings: settings, patience: BrokerBench.patience).send)
        let line = try #require(judge(first.message.generation, "a server needs a certificate"))
        #expect(!line.isError && line.text.hasPrefix("server credentials: none, as no certificate is set"))
        #expect(state.report(profile: "").problem.isEmpty && !state.report(profile: "").summary.isEmpty)
        #expect(!state.problem.isEmpty, "handshakes are told")
        settings.certificate = Located(.file(try write("own.pem", "two").value), origin: .builtIn)
        let second = try #require(state.refresh(settings: settings, patience: BrokerBench.patience).send)
        let other = try #require(judge(second.message.generation, "no key"))
        #expect(other.isError && state.report(profile: "").problem == "no key")
        let third = try #require(state.refresh(settings: settings, force: true, patience: BrokerBench.patience).send)
        _ = judge(third.message.generation, "")
        settings.certificate = nil
        let fourth = try #require(state.refresh(settings: settings, patience: BrokerBench.patience).send)
        let lost = try #require(judge(fourth.message.generation, "a server needs a certificate"))
        #expect(lost.isError && lost.text.hasSuffix("the former ones stay in force"))
        #expect(!state.report(profile: "").problem.isEmpty)
    }

    @Test("a missing trust store or revocation list is an error, and says that nothing takes its place")
    func missing() throws {
        var state = RoleCredentialState(CredentialsOwner(.standard, .client))
        let path = folder.path("none.pem")
        var change = state.refresh(
            settings: settings(trustStore: Located(path, origin: .builtIn)), patience: BrokerBench.patience)
        #expect(change.send == nil)
        var line = try #require(change.errors.first)
        #expect(line.contains(path) && line.contains("No such file"))
        #expect(line.contains("the system's trust store is not used in its place"))
        #expect(line.contains("this role is not served"))
        #expect(state.problem.hasSuffix("; remedy: put it there, or correct the settings"))

        var revocation = settings(trustStore: try write("ca.pem", "one"))
        revocation.crl = Located(path, origin: .builtIn)
        change = state.refresh(settings: revocation, patience: BrokerBench.patience)
        line = try #require(change.errors.first)
        #expect(line.contains("certificates are not accepted without the revocation list"))
    }

    @Test("a file that appears later is noticed without a signal")
    func appears() throws {
        var state = RoleCredentialState(CredentialsOwner(.standard, .client))
        let path = folder.path("late.pem")
        let settings = settings(trustStore: Located(path, origin: .builtIn))
        #expect(state.refresh(settings: settings, patience: BrokerBench.patience).errors.count == 1)
        #expect(
            state.refresh(settings: settings, patience: BrokerBench.patience).errors.isEmpty, "the error is said once")
        _ = try write("late.pem", "one")
        #expect(state.refresh(settings: settings, patience: BrokerBench.patience).send != nil)
    }

    @Test("a reload sends again what has not changed")
    func forced() throws {
        var state = RoleCredentialState(CredentialsOwner(.standard, .client))
        let settings = settings(trustStore: try write("ca.pem", "one"))
        _ = state.refresh(settings: settings, patience: BrokerBench.patience)
        #expect(state.refresh(settings: settings, force: true, patience: BrokerBench.patience).send != nil)
    }

    @Test("without settings a role's only file is the system's trust store, for workers can open none")
    func defaults() throws {
        var state = RoleCredentialState(CredentialsOwner(.standard, .client))
        let sent = try #require(
            state.refresh(settings: RoleSettings(), force: true, patience: BrokerBench.patience).send)
        #expect(sent.message.kinds == [.trustStore])
        #expect(SystemTrustStore.places.contains(try #require(sent.message.files.first).path))
    }

    private func tokenSettings() throws -> RoleSettings {
        let pin = try write("pin", "1234\n")
        let text = """
            [authenticate.server]
            x509.truststore=\(try write("ca.pem", "one").value)
            x509.certificate=pkcs11:token=t;object=c;type=cert
            x509.private_key=pkcs11:token=t;object=k?pin-source=file:\(pin.value)&module-name=m
            """
        return try DaemonSettings.read(Array(text.utf8), file: "tlshd.conf").server
    }

    private func verdict(_ generation: UInt32, problem: String = "", isPassing: Bool = false) -> SignerVerdict {
        SignerVerdict(
            owner: CredentialsOwner(.standard, .server), generation: generation, problem: problem,
            isPassing: isPassing, parts: problem.isEmpty ? [Array("CERT".utf8), Array("PUBLIC".utf8)] : [])
    }

    @Test("what is on a token is opened by the signer, with the PIN's file beside it; workers get what is public")
    func token() throws {
        var state = RoleCredentialState(CredentialsOwner(.standard, .server))
        let set = try #require(state.refresh(settings: try tokenSettings(), patience: BrokerBench.patience).send)
        let keys = try #require(set.keys)
        #expect(
            keys.parts.map(\.source) == [
                .url("pkcs11:token=t;object=c;type=cert", hasPIN: false),
                .url("pkcs11:token=t;object=k?module-name=m", hasPIN: true),
            ])
        #expect(keys.parts.map(\.place) == ["pkcs11:token=t;object=c;type=cert", "pkcs11:token=t;object=k"])
        #expect(set.keyDescriptors.count == 1 && !set.isComplete && state.awaitsSigner && set.signer == .tokens)
        let judged = state.judge(verdict(set.message.generation))
        let outcome = try #require(judged)
        #expect(outcome.send === set && outcome.error == nil && set.isComplete && !state.awaitsSigner)
        #expect(set.message.kinds == [.trustStore, .certificate, .privateKey])
        #expect(set.descriptors.count == 3)
    }

    @Test(
        "a token that is not there is looked for again, ever later, and complained about once; a wrong PIN is not tried again"
    )
    func tokenAbsent() throws {
        let clock = TestClock()
        clock.stop()
        var state = RoleCredentialState(
            CredentialsOwner(.standard, .server), threads: FileThreads(clock: clock.now))
        let settings = try tokenSettings()
        let first = try #require(state.refresh(settings: settings, patience: BrokerBench.patience).send)
        let judged = state.judge(verdict(first.message.generation, problem: "no token", isPassing: true))
        let outcome = try #require(judged)
        #expect(outcome.send == nil)
        #expect(outcome.error == "server credentials: no token; this role is not served until that is fixed")
        #expect(state.nextRetry == clock.now() + 5_000_000_000)
        let second = try #require(state.refresh(settings: settings, force: true, patience: BrokerBench.patience).send)
        #expect(state.nextRetry == nil, "it is being tried")
        let judgedAgain = state.judge(verdict(second.message.generation, problem: "no token", isPassing: true))
        let again = try #require(judgedAgain)
        #expect(again.error == nil)
        #expect(state.nextRetry == clock.now() + 10_000_000_000)
        let third = try #require(state.refresh(settings: settings, force: true, patience: BrokerBench.patience).send)
        let last = state.judge(verdict(third.message.generation, problem: "wrong PIN"))
        #expect(last?.error != nil)
        #expect(state.nextRetry == nil)
    }

    @Test("a token that has gone when a new signer opens what is in force is a problem, and is looked for again")
    func tokenGone() throws {
        let clock = TestClock()
        clock.stop()
        var state = RoleCredentialState(
            CredentialsOwner(.standard, .server), threads: FileThreads(clock: clock.now))
        let settings = try tokenSettings()
        let set = try #require(state.refresh(settings: settings, patience: BrokerBench.patience).send)
        let generation = set.message.generation
        _ = state.judge(verdict(generation))
        _ = state.judge(
            CredentialsVerdict(
                owner: CredentialsOwner(.standard, .server), generation: generation, problem: "", summary: "all"))
        #expect(state.inForce === set && state.problem.isEmpty)
        let unchanged = state.judge(verdict(generation))
        #expect(unchanged == nil)
        let judged = state.judge(verdict(generation, problem: "no token", isPassing: true))
        let outcome = try #require(judged)
        #expect(outcome.error == "server credentials: no token; its handshakes fail until that is fixed")
        #expect(state.problem == "no token" && state.inForce === set)
        #expect(state.nextRetry == clock.now() + 5_000_000_000)
        let next = try #require(state.refresh(settings: settings, force: true, patience: BrokerBench.patience).send)
        _ = state.judge(verdict(next.message.generation))
        _ = state.judge(
            CredentialsVerdict(
                owner: CredentialsOwner(.standard, .server), generation: next.message.generation, problem: "",
                summary: "all"))
        #expect(state.inForce === next && state.problem.isEmpty && state.nextRetry == nil)
    }

    @Test(
        "modes are complained about only where others could read a key or write a file, once per change",
        arguments: [(0o600, 0), (0o400, 0), (0o640, 0), (0o644, 1), (0o620, 1), (0o660, 1)])
    func keyModes(mode: Int, notices: Int) throws {
        var state = RoleCredentialState(CredentialsOwner(.standard, .client))
        var settings = RoleSettings()
        let path = try write("key.pem", "key", mode: mode)
        settings.privateKey = Located(.file(path.value), origin: .builtIn)
        #expect(state.refresh(settings: settings, patience: BrokerBench.patience).notices.count == notices)
        #expect(state.refresh(settings: settings, force: true, patience: BrokerBench.patience).notices.isEmpty)
    }
}
