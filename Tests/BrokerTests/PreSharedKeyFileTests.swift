import CKeyutils
import Control
import Foundation
import Glibc
import Handshake
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
        let lines = identities.map { "\($0):\(Self.key)\n" }.joined()
        try Data(lines.utf8).write(to: URL(filePath: path("keys")))
        _ = unsafe chmod(path("keys"), 0o600)
        let broker = try broker("[authenticate]\npsk.file=\(path("keys"))\npsk.keyring=\(name)\n")
        broker.keys.fileKeyType = "user"
        let serial = unsafe add_key("keyring", name, nil, 0, KEY_SPEC_PROCESS_KEYRING)
        return (broker, Keyring(try #require(KeySerial(serial))))
    }

    @Test("they are there once their keyring is, and go when the file is named no longer, or another keyring")
    func leaves() throws {
        for successor in ["", "psk.file=\(path("keys"))\npsk.keyring=tlshd-none\n"] {
            let (broker, keyring) = try broker(identities: ["one", "two"], in: "tlshd-test-\(UUID().uuidString)")
            broker.look()
            #expect(try keyring.members().count == 2)
            let text = "[authenticate]\n" + successor
            try Data(text.utf8).write(to: URL(filePath: try #require(broker.options.configuration)))
            broker.look(force: true)
            #expect(try keyring.members().isEmpty)
        }
    }

    @Test("one whose description fits into no message is not offered, and the reason names it")
    func tooLong() throws {
        let long = String(repeating: "n", count: 2000)
        let (broker, keyring) = try broker(identities: [long], in: "tlshd-test-\(UUID().uuidString)")
        broker.look()
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
        #expect(broker.deaths == 0)
        peer.close()
    }
}
