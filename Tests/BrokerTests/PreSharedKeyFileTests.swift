import CKeyutils
import Control
import Foundation
import Glibc
import Handshake
import Policy
import Settings
import Testing

@testable import Broker
@testable import Keyrings
@testable import System

/// The keys of `psk.file`, with `user` keys in place of `psk` ones, which only a kernel with nvme-keyring has.
@Suite("Keys of a file", .serialized)
final class PreSharedKeyFileTests: BrokerBench {
    private static let key = String(repeating: "5a", count: 32)

    /// A broker that keeps this file's keys in a keyring of ours; and the keyring.
    private func broker(identities: [String], in name: String) throws -> (Broker, Keyring) {
        try write(identities.map { "\($0):\(Self.key)\n" }.joined())
        let broker = try broker("[authenticate]\npsk.file=\(path("keys"))\npsk.keyring=\(name)\n")
        broker.keys.fileKeyType = "user"
        let serial = unsafe add_key("keyring", name, nil, 0, KEY_SPEC_PROCESS_KEYRING)
        return (broker, Keyring(try #require(KeySerial(serial))))
    }

    private func write(_ lines: String) throws {
        try Data(lines.utf8).write(to: URL(filePath: path("keys")))
        _ = unsafe chmod(path("keys"), 0o600)
    }

    @Test("one that is there with the same bytes keeps its serial, over reloads and restarts")
    func keeps() throws {
        let name = "tlshd-test-\(UUID().uuidString)"
        let (broker, keyring) = try broker(identities: ["one", "one and more"], in: name)
        broker.reload.look()
        let first = try Set(keyring.members())
        #expect(first.count == 2)
        // A `user` key would be updated in its place, where a `psk` key gets a new serial; without the right to write
        // it, only who leaves it alone has no problem with it.
        for serial in first { try #require(keyctl_setperm(serial.number, 0x3b00_0000) == 0) }
        broker.reload.look(force: true)
        #expect(try Set(keyring.members()) == first, "a reload")
        try write("one:\(Self.key)\none and more:\(Self.key)\n\n")
        broker.reload.look()
        #expect(try Set(keyring.members()) == first, "the file was written anew")
        let successor = try self.broker("[authenticate]\npsk.file=\(path("keys"))\npsk.keyring=\(name)\n")
        successor.keys.fileKeyType = "user"
        successor.reload.look()
        #expect(try Set(keyring.members()) == first, "a restart")
        #expect(broker.keys.problem.isEmpty && successor.keys.problem.isEmpty)
        for serial in first { try #require(keyctl_setperm(serial.number, 0x3f00_0000) == 0) }
        try write("one:\(String(repeating: "a5", count: 32))\n")
        successor.reload.look()
        var index = DescriptionIndex()
        let one = try #require(try keyring.search(type: "user", description: Array("one".utf8), index: &index))
        #expect(try keyring.members() == [one], "a restarted daemon takes out a key whose line goes")
        var buffer = try SecretBuffer(capacity: 32)
        #expect(try Key(one).read(into: &buffer, limit: 32) == 32)
        #expect(buffer.withSpan { span in span.indices.allSatisfy { span[$0] == 0xa5 } })
    }

    @Test("they are there once their keyring is, and go when the file is named no longer, or another keyring")
    func leaves() throws {
        for successor in ["", "psk.file=\(path("keys"))\npsk.keyring=tlshd-none\n"] {
            let (broker, keyring) = try broker(identities: ["one", "two"], in: "tlshd-test-\(UUID().uuidString)")
            broker.reload.look()
            #expect(try keyring.members().count == 2)
            let text = "[authenticate]\n" + successor
            try Data(text.utf8).write(to: URL(filePath: try #require(broker.options.configuration)))
            broker.reload.look(force: true)
            #expect(try keyring.members().isEmpty)
        }
    }

    @Test("one whose description fits into no message is not offered, and the reason names it")
    func tooLong() throws {
        let long = String(repeating: "n", count: 2000)
        let (broker, keyring) = try broker(identities: [long], in: "tlshd-test-\(UUID().uuidString)")
        broker.reload.look()
        let serial = try #require(try keyring.members().first)
        var request = HandshakeRequest(
            transport: .netlink, role: .client, authentication: .preSharedKey, peerIdentities: [serial])
        request.timeout = .seconds(600)
        try ready(broker)
        let peer = try upcall.ask(request)
        try turn(broker) { !upcall.answers.isEmpty }
        #expect(upcall.answers.map(\.status) == [FailureReason.pskUnreadable.row.status])
        let reason = try #require(broker.control.history.newest(1).first)
        #expect(reason.text.contains("2000 bytes, where 1 to 1024 are allowed"))
        #expect(broker.pool.deaths == 0)
        peer.close()
    }
}
