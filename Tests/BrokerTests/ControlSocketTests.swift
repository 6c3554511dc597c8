import Control
import Foundation
import Glibc
import Handshake
import Policy
import Settings
import TestSupport
import Testing

@testable import Broker
@testable import System
@testable import Unconfined
@testable import Upcall

/// The broker's control socket; its worker is a program that ends at once, save where handshakes are to be answered.
@Suite("Control socket", .serialized)
struct ControlSocketTests {
    private let upcall = ScriptedUpcall()
    private let folder = TemporaryDirectory()
    private let brokers = Brokers()
    /// The brokers' time.
    private let clock = TestClock()
    private var socket: String { folder.path("run/control") }

    private var settings: URL { URL(filePath: folder.path("tlshd.conf")) }

    private func write(_ text: String) throws { try Data("[control]\n\(text)".utf8).write(to: settings) }

    /// - Parameter isKept: false for a broker that goes before the test ends, and has started no process.
    private func broker(_ more: String = "", isKept: Bool = true) throws -> Broker {
        try write("socket=\(socket)\n\(more)")
        var options = DaemonOptions()
        options.configuration = settings.path
        let all = KernelTLSCapabilities(ciphers: Set(KernelCipher.allCases), limitsTransmitPayload: false)
        var surroundings = Surroundings(kernelTLS: all, worker: "/bin/false")
        surroundings.clock = clock.now
        let broker = try Broker(options: options, surroundings: surroundings)
        try broker.upcalls.add(upcall)
        broker.reload.patience = BrokerBench.patience
        broker.control.open()
        return isKept ? brokers.keep(broker) : broker
    }

    /// What comes back for `request`; the broker's loop turns meanwhile.
    private func ask(_ broker: Broker, _ request: String) throws -> String {
        let client = try UnixStream.connect(socket)
        _ = UnixStream.write(client.number, Array(request.utf8)[...])
        return String(decoding: try rest(broker, client), as: UTF8.self)
    }

    private func rest(_ broker: Broker, _ client: borrowing OwnedDescriptor) throws -> [UInt8] {
        var answer: [UInt8] = []
        func isClosed() -> Bool {
            while true {
                switch UnixStream.read(client.number, into: &answer, limit: 65_536) {
                case .closed: return true
                case .moved: continue
                case .wouldBlock: return false
                }
            }
        }
        try wait(meanwhile: { try broker.loop.turn(atMost: 10_000_000) }, until: isClosed)
        return answer
    }

    private func mode(_ path: String) throws -> Int {
        try #require(try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int)
    }

    @Test("Root alone may ask, or a group that is named; an unknown group leaves no socket")
    func modes() throws {
        do {
            let broker = try broker(isKept: false)
            #expect(try mode(socket) == 0o600)
            #expect(broker.control.listener != nil)
        }
        #expect(!FileManager.default.fileExists(atPath: socket), "it is taken away at the end")
        do {
            let broker = try broker("group=daemon\n", isKept: false)
            #expect(try mode(socket) == 0o660)
            #expect(try group(socket) == "daemon")
            #expect(broker.control.listener != nil)
        }
        let broker = try broker("group=no-such-group\n", isKept: false)
        #expect(broker.control.listener == nil)
        #expect(!FileManager.default.fileExists(atPath: socket))
    }

    private func group(_ path: String) throws -> String? {
        try FileManager.default.attributesOfItem(atPath: path)[.groupOwnerAccountName] as? String
    }

    @Test("Changed settings open it anew, for another group or at another place; what is broken leaves the former")
    func changes() throws {
        let broker = try broker()
        try write("socket=\(socket)\ngroup=daemon\n")
        broker.reload.look()
        #expect(try mode(socket) == 0o660 && group(socket) == "daemon")
        #expect(try ask(broker, "tlshd-control 1 status\n").hasPrefix("{"))
        try write("socket=\(socket)\ngroup=no-such-group\n")
        broker.reload.look()
        #expect(try mode(socket) == 0o660 && group(socket) == "daemon")
        let problem = "the control socket stays as it was: read /etc/group: there is no group no-such-group"
        #expect(broker.control.report().problems.contains { $0.text.hasPrefix(problem) })
        let other = folder.path("other")
        try write("socket=\(other)\n")
        broker.reload.look()
        #expect(try mode(other) == 0o600 && group(other) == "root")
        #expect(!FileManager.default.fileExists(atPath: socket))
        #expect(!broker.control.report().problems.contains { $0.text.contains("control socket") })
        try write("socket=none\n")
        broker.reload.look()
        #expect(!FileManager.default.fileExists(atPath: other) && broker.control.listener == nil)
    }

    @Test("Settings that are broken now are a problem until they are mended, though the former ones serve on")
    func brokenSettings() throws {
        let broker = try broker()
        try write("socket=\(socket)\n[authenticate.client]\nx509.crl=\n")
        broker.reload.look()
        let problem = "the settings from \(settings.path) stay in force: "
        #expect(broker.control.report().problems.contains { $0.text.hasPrefix(problem) && $0.text.contains(":4:") })
        try write("socket=\(socket)\n")
        broker.reload.look()
        #expect(!broker.control.report().problems.contains { $0.text.contains("stay in force") })
    }

    @Test("Lines of the settings that have no effect are problems until they go, in the figures too")
    func withoutEffect() throws {
        let broker = try broker("\n[debug]\nloglevels=1\ntls=x\n[nfs]\n")
        broker.reload.look()
        func found() -> [ServiceReport.Problem] {
            broker.control.report().problems.filter { $0.text.hasPrefix(settings.path) }
        }
        let lines = found()
        #expect(lines.count == 3 && lines.allSatisfy { !$0.isFailure }, "\(lines)")
        for (line, problem) in zip(5..., lines) { #expect(problem.text.hasPrefix("\(settings.path):\(line): ")) }
        let metrics = try ask(broker, "tlshd-control 1 metrics\n").split(separator: "\n")
        let figure = try #require(metrics.compactMap { Int($0.trimmingPrefix("tlshd_problems ")) }.first)
        #expect(figure >= 3)
        try write("socket=\(socket)\n")
        try wait(meanwhile: { broker.reload.look() }, until: { found().isEmpty })
    }

    @Test("Ten thousand such lines do not make an answer without end")
    func manyWithoutEffect() throws {
        let broker = try broker("\n[debug]\n" + (0..<10_000).map { "x\($0)=1\n" }.joined())
        let problems = broker.control.report().problems
        #expect(problems.count < 50)
        #expect(problems.last?.text == "68 more warnings are not shown; remedy: tlshctl check")
    }

    @Test("A settings file that others can write is a problem until it is not, and so is a folder above it")
    func writable() throws {
        let broker = try broker()
        func set(_ mode: Int, _ path: String) throws {
            try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: path)
        }
        func lines() -> [String] {
            broker.reload.look()
            return broker.control.report().problems.map(\.text).filter { $0.contains("written by others") }
        }
        try #require(lines().isEmpty)
        for (path, good, bad) in [
            (settings.path, 0o600, [0o620, 0o602, 0o666]), (folder.path, 0o700, [0o770, 0o777]),
        ] {
            for mode in bad {
                try set(mode, path)
                #expect(
                    lines() == [
                        "\(path) can be written by others, who can change the settings; remedy: chmod go-w \(path)"
                    ])
            }
            try set(good, path)
            #expect(lines().isEmpty)
        }
        try set(0o1777, folder.path)
        #expect(lines().isEmpty, "what is in a folder with the sticky bit is safe, as /tmp's")
        try set(0o700, folder.path)
    }

    @Test("One that could not be opened is opened by a reload")
    func missing() throws {
        let broker = try broker()
        broker.reload.look()
        let folder = folder.path("file")
        try write("socket=\(folder)/control\n")
        try Data().write(to: URL(fileURLWithPath: folder))
        broker.reload.look()
        try FileManager.default.removeItem(atPath: folder)
        broker.reload.look()
        #expect(!FileManager.default.fileExists(atPath: folder), "not without being asked")
        broker.reload.look(force: true)
        #expect(try mode("\(folder)/control") == 0o600)
    }

    @Test("A process that only finishes what it has closes it, with who is connected, and never opens it again")
    func remainder() throws {
        let broker = try broker()
        let client = try UnixStream.connect(socket)
        broker.control.accept()
        #expect(broker.control.clients.count == 1)
        broker.control.close()
        #expect(!FileManager.default.fileExists(atPath: socket))
        #expect(try rest(broker, client).isEmpty)
        try write("socket=\(socket)\ngroup=daemon\n")
        broker.reload.look(force: true)
        #expect(!FileManager.default.fileExists(atPath: socket))
    }

    @Test("A newer daemon takes the path over, and an older one leaves it to it at its end")
    func takeover() throws {
        var older: Broker? = try broker(isKept: false)
        let newer = try broker()
        #expect(older != nil)
        older = nil
        #expect(try ask(newer, "tlshd-control 1 status\n").hasPrefix("{"))
    }

    @Test("Status, handshakes and metrics are answered in full")
    func answers() throws {
        let broker = try broker()
        var request = HandshakeRequest(transport: .netlink, role: .client, authentication: .x509)
        request.peerName = ""
        let peer = try upcall.ask(request)
        broker.upcalls.drainAll()
        #expect(upcall.answers.count == 1)
        let status = try ask(broker, "tlshd-control 1 status\n")
        let report = try JSONDecoder().decode(ServiceReport.self, from: Data(status.utf8))
        #expect(report.version == Version.text)
        #expect(report.counts.map(\.reason) == ["peerNameMissing"] && report.counts.map(\.count) == [1])
        #expect(report.lastFailures.first?.text.contains("failed") == true)
        #expect(report.problems.first?.isFailure == true, "no worker comes up")
        #expect(report.credentials.isEmpty || report.credentials.count == 2)
        #expect(try ask(broker, "tlshd-control 1 handshakes 5\n").contains("\"reason\":\"peerNameMissing\""))
        #expect(try ask(broker, "tlshd-control 1 metrics\n").hasSuffix("# EOF\n"))
        peer.close()
    }

    @Test(
        "Anything else is refused with a line that says why, and the daemon goes on",
        arguments: [
            "tlshd-control 1 reload\n", "GET / HTTP/1.1\r\n\r\n", String(repeating: "x", count: 1_000),
            "tlshd-control 9 status\n",
        ])
    func refused(text: String) throws {
        let broker = try broker()
        #expect(try ask(broker, text).hasPrefix("tlshd-control 1 error the"))
        #expect(try ask(broker, "tlshd-control 1 status\n").hasPrefix("{"))
        #expect(broker.control.report().controlRefusals.map(\.count).reduce(0, +) == 1, "it is counted")
    }

    @Test("One that asks nothing is closed after two seconds")
    func slow() throws {
        let broker = try broker()
        let silent = try UnixStream.connect(socket)
        clock.stop()
        try wait(meanwhile: { try broker.loop.turn(atMost: 10_000_000) }, until: { !broker.control.clients.isEmpty })
        clock.pass(1_999_999_999)
        try broker.loop.turn(atMost: 0)
        #expect(!broker.control.clients.isEmpty)
        clock.pass(1)
        #expect(try rest(broker, silent).isEmpty)
        #expect(broker.control.clients.isEmpty)
        #expect(broker.control.report().controlRefusals.last == .init(reason: "timeout", count: 1))
    }

    @Test("A thousand clients at once are answered or told to try again, while handshakes are served")
    func thousand() throws {
        let broker = try broker()
        var request = HandshakeRequest(transport: .netlink, role: .client, authentication: .x509)
        request.peerName = ""
        var answered = 0
        var refused = 0
        var waiting: [Held] = []
        var made = 0
        while made < 1000 || !waiting.isEmpty {
            // As many as the queue takes: the others wait in connect(2).
            while made < 1000, let client = try? UnixStream.connect(socket) {
                _ = UnixStream.write(client.number, Array("tlshd-control 1 status\n".utf8)[...])
                waiting.append(Held(client))
                made += 1
            }
            let before = upcall.answers.count
            let peer = try upcall.ask(request)
            broker.upcalls.drainAll()
            #expect(upcall.answers.count == before + 1, "a request is answered in the same turn")
            try broker.loop.turn(atMost: 1_000_000)
            #expect(broker.control.clients.count <= ControlService.clientLimit)
            peer.close()
            waiting.removeAll { client in
                guard case .closed = client.read() else { return false }
                if client.text.hasPrefix("{") && client.text.hasSuffix("}\n") { answered += 1 }
                if client.text == ControlRequest.Refusal.busy.line { refused += 1 }
                return true
            }
        }
        #expect(answered + refused == 1000)
        #expect(answered >= 16 && refused > 0, "\(answered) answered")
        #expect(broker.control.report().controlRefusals.first { $0.reason == "busy" }?.count == refused)
        #expect(broker.control.clients.isEmpty)
    }
}

/// A connection in a box, for arrays, with what was read from it.
private final class Held {
    private let descriptor: OwnedDescriptor
    private var bytes: [UInt8] = []

    init(_ descriptor: consuming OwnedDescriptor) {
        self.descriptor = descriptor
    }

    var text: String { String(decoding: bytes, as: UTF8.self) }

    func read() -> UnixStream.Outcome {
        while true {
            let outcome = UnixStream.read(descriptor.number, into: &bytes, limit: 65_536)
            guard case .moved = outcome else { return outcome }
        }
    }
}
