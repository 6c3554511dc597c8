import Foundation
import Glibc
import Handshake
import Policy
import Settings
import TestSupport
import Testing
import Unconfined
import Wire

@testable import Broker
@testable import Control
@testable import System
@testable import Upcall

/// The real broker, real workers and the real signer, with `openssl s_client` as the peer.
@Suite("Broker and signer", .serialized)
final class SignerTests: BrokerBench {
    override init() throws {
        try super.init()
        try issue("server")
    }

    func settings(key: String, certificate: String? = nil) -> String {
        """
        [authenticate.server]
        x509.truststore=\(path("server.pem"))
        x509.certificate=\(certificate ?? path("server.pem"))
        x509.private_key=\(key)
        [authenticate.client]
        x509.truststore=\(path("server.pem"))

        """
    }

    func inForce(_ broker: Broker) -> Bool {
        let owner = CredentialsOwner(.standard, .server)
        return broker.pool.workers.allSatisfy(\.isReady) && broker.credentials[owner]?.inForce != nil
            && broker.credentials[owner]?.candidate == nil
    }

    /// A request of a server's, with time enough for every machine.
    let request = HandshakeRequest(
        transport: .netlink, role: .server, authentication: .x509, timeout: .seconds(600))

    /// Runs a client against a request of the kernel's and says whether it was content with the server's signature.
    ///
    /// - Parameter whenAnswered: what cannot wait for the client's end.
    func shake(_ broker: Broker, trusts: String = "server.pem", whenAnswered: () throws -> Void = {}) throws -> Bool {
        let listener = try LoopbackListener()
        let client = try opensslClient(listener, ["-CAfile", path(trusts), "-verify_return_error"])
        let before = upcall.answers.count
        upcall.ask(request, on: try listener.accept())
        try turn(broker) { upcall.answers.count > before }
        try whenAnswered()
        // On a host without kernel TLS the daemon ends the connection behind the handshake.
        client.closeInput()
        return client.finish().contains("Verification: OK")
    }

    /// Has the broker's next signer be another program.
    private func link(signer program: String) throws {
        try? FileManager.default.removeItem(atPath: path("signer"))
        try FileManager.default.createSymbolicLink(atPath: path("signer"), withDestinationPath: program)
    }

    @Test("a file's key is used without a worker having it, and the worker gets its public half only")
    func fileKey() throws {
        let broker = try broker(settings(key: path("server.key")))
        try turn(broker) { inForce(broker) }
        #expect(try shake(broker))
        let set = try #require(broker.credentials[CredentialsOwner(.standard, .server)]?.inForce)
        #expect(set.message.kinds == [.trustStore, .certificate, .privateKey])
        for number in set.descriptors {
            let text = try String(contentsOfFile: "/proc/self/fd/\(number)", encoding: .utf8)
            #expect(!text.contains("PRIVATE"))
        }
        #expect(broker.signer(.tokens).process == nil)
    }

    @Test("without any key there is no signer")
    func noKey() throws {
        let broker = try broker("[authenticate.client]\nx509.truststore=\(path("server.pem"))\n")
        try turn(broker) { broker.pool.workers.allSatisfy(\.isReady) }
        #expect(broker.signers.allSatisfy { $0.process == nil })
    }

    @Test(
        "a signer that dies is started again, gets its keys again, and workers a new channel; without one none is signed"
    )
    func killed() throws {
        try link(signer: Product.path("tlshd-signer"))
        let broker = try broker(settings(key: path("server.key")), signer: path("signer"))
        try turn(broker) { inForce(broker) }
        let first = try #require(broker.signer(.files).process)
        try first.process.signal(SIGKILL)
        try turn(broker) {
            broker.signer(.files).process?.isReady == true && broker.signer(.files).process?.number == 2
        }
        #expect(try shake(broker))
        // From now on each dies as it starts.
        try link(signer: "/bin/false")
        try broker.signer(.files).process?.process.signal(SIGKILL)
        try turn(broker) { broker.signer(.files).process?.number != 2 }
        #expect(try !shake(broker))
        #expect(upcall.answers.last?.status == .timedOut)
        try link(signer: Product.path("tlshd-signer"))
        try turn(broker) { broker.signer(.files).process?.isReady == true }
        #expect(try shake(broker))
        #expect(broker.pool.deaths == 0)
    }

    @Test("a handshake that runs while the signer dies is signed by the next; the log says so if it is to")
    func permittedAgain() throws {
        let receiver = JournalReceiver(in: folder)
        let broker = try broker(settings(key: path("server.key")) + "[debug]\nloglevel=1\n")
        try turn(broker) { inForce(broker) }
        let listener = try LoopbackListener()
        // It sends nothing of TLS before the test, in the server's place, has agreed.
        let client = try opensslClient(
            listener, ["-CAfile", path("server.pem"), "-verify_return_error", "-starttls", "ftp"])
        let socket = try listener.accept(), server = try socket.duplicate()
        #expect(unsafe write(server.number, "220 \r\n", 6) == 6)
        var bytes = [UInt8](repeating: 0, count: 10)
        #expect(unsafe recv(server.number, &bytes, bytes.count, Int32(MSG_WAITALL)) == 10)
        upcall.ask(request, on: socket)
        broker.upcalls.drainAll()
        let worker = try #require(broker.runners[1])
        try broker.signer(.files).process?.process.signal(SIGKILL)
        try turn(broker) {
            broker.signer(.files).process?.number == 2 && broker.signer(.files).process?.isOpening == false
        }
        broker.log.journal = Journal(.automatic, socketPath: receiver.path)
        #expect(unsafe write(server.number, "234 \r\n", 6) == 6)
        try turn(broker) { !upcall.answers.isEmpty }
        client.closeInput()
        #expect(client.finish().contains("Verification: OK"))
        #expect(broker.pool.deaths == 0)
        let line = "the signer has signed handshake 1 for worker \(worker.number) with the key \(path("server.key")) "
        #expect(receiver.lines().contains { $0["MESSAGE"]?.contains(line + "(ecdsaSecp256r1SHA256)") == true })
    }

    @Test("what the library logs of certificates costs no worker its life")
    func libraryLog() throws {
        try issue("client")
        let broker = try broker(
            settings(key: path("server.key")) + "x509.certificate=\(path("client.pem"))\n"
                + "x509.private_key=\(path("client.key"))\n[debug]\ntls=9\n")
        try turn(broker) { inForce(broker) }
        #expect(try shakeAsClient(broker))
        #expect(broker.pool.deaths == 0)
    }

    @Test("a key that changes is swapped with its certificate, and a broken one leaves the former in force")
    func swapped() throws {
        let broker = try broker(settings(key: path("server.key")))
        try turn(broker) { inForce(broker) }
        #expect(try shake(broker))
        try issue("other", ["RSA", "-pkeyopt", "rsa_keygen_bits:2048"])
        for kind in [".pem", ".key"] {
            try Data(contentsOf: URL(filePath: path("other" + kind))).write(to: URL(filePath: path("server" + kind)))
        }
        // The next request finds it, and waits until it is in force.
        clock.pass(broker.reload.freshness)
        #expect(try shake(broker, trusts: "other.pem"))
        try Data("no key".utf8).write(to: URL(filePath: path("server.key")))
        clock.pass(broker.reload.freshness)
        #expect(try shake(broker, trusts: "other.pem"))
        let state = try #require(broker.credentials[CredentialsOwner(.standard, .server)])
        #expect(state.problem.contains("private key \(path("server.key")) cannot be used"))
    }

    @Test("a key of another certificate is refused with both names")
    func mismatch() throws {
        try issue("other", ["RSA", "-pkeyopt", "rsa_keygen_bits:2048"])
        let broker = try broker(settings(key: path("other.key")))
        try turn(broker) { broker.credentials[CredentialsOwner(.standard, .server)]?.problem.isEmpty == false }
        let problem = try #require(broker.credentials[CredentialsOwner(.standard, .server)]?.problem)
        #expect(
            problem.contains("no certificate in \(path("server.pem")) belongs to the private key \(path("other.key"))"))
    }

    @Test(
        "a key on a SoftHSM2 token, named later, starts a signer of its own; its PIN's file is the broker's to read"
    )
    func token() throws {
        let configuration = try makeToken()

        // Where the module's files are, as a unit's Environment= would say.
        let script = "#!/bin/sh\nSOFTHSM2_CONF=\(configuration) exec \(Product.path("tlshd-signer"))\n"
        try Data(script.utf8).write(to: URL(filePath: path("signer")))
        try Command.run("chmod", "755", path("signer"))

        let broker = try broker(settings(key: path("server.key")), signer: path("signer"))
        try turn(broker) { inForce(broker) }
        let files = try #require(broker.signer(.files).process)
        try Data(settings(key: keyOnToken).utf8).write(to: URL(filePath: path("tlshd.conf")))
        broker.reload.look()
        try turn(broker) { inForce(broker) && broker.signer(.tokens).process?.isReady == true }
        #expect(broker.control.report().workers.signers == ["files", "tokens"])
        #expect(try shake(broker))
        #expect(broker.signer(.files).process === files && broker.signer(.files).deaths == 0)
        #expect(broker.pool.deaths == 0)

        // While a token signs, its worker waits: handshakes without a key on it are kept away.
        try ready(broker, using: .server)
        let servers = broker.pool.places.filter { $0.duty.role == .server }.compactMap(\.worker)
        let last = try #require(servers.map(\.id).max { $0.number < $1.number })
        var silent: [SilentPeer] = []
        for authentication in [Authentication.x509, .x509, .preSharedKey, .preSharedKey] {
            let listener = try LoopbackListener()
            silent.append(SilentPeer(try LoopbackListener.connect(to: listener.port)))
            upcall.ask(
                HandshakeRequest(
                    transport: .netlink, role: .server, authentication: authentication, timeout: .seconds(600)),
                on: try listener.accept())
            broker.upcalls.drainAll()
        }
        #expect(servers.count > 1 && broker.handshakes.table.load(of: last) == 2)
        silent.removeAll()
        let answered = upcall.answers.count
        try turn(broker) { upcall.answers.count == answered + 4 }
    }
}
