import Handshake
import Policy
import TestSupport
import Testing

@testable import Broker
@testable import Control
@testable import System
@testable import Upcall

/// A handshake through broker, worker and signer, which are threads of this process here. docs/architecture.md has the
/// files that it runs through.
@Suite("A handshake from READY to DONE", .serialized)
final class HandshakePathTests: BrokerBench {
    @Test("a server's: request, job, signature, verification, keys, answer")
    func server() throws {
        try issue("server")
        let broker = try broker(
            """
            [authenticate.server]
            x509.truststore=\(path("server.pem"))
            x509.certificate=\(path("server.pem"))
            x509.private_key=\(path("server.key"))

            """, worker: "worker", signer: "signer", start: ThreadProgram.start)
        // The signer opens the key, and workers get its public half.
        try turn(broker) { broker.credentials[CredentialsOwner(.standard, .server)]?.inForce != nil }

        // READY and ACCEPT: the kernel hands over the socket of an NFS server, to which a client has connected.
        let listener = try LoopbackListener()
        let client = try opensslClient(listener, ["-CAfile", path("server.pem"), "-verify_return_error"])
        let request = HandshakeRequest(transport: .netlink, role: .server, authentication: .x509)
        upcall.ask(request, on: try listener.accept())

        // The worker gets the job and the signer signs. The client verifies that, and the worker verifies its Finished.
        try turn(broker) { !upcall.answers.isEmpty }
        client.closeInput()
        #expect(client.finish().contains("Verification: OK"))

        // DONE, once. On a host without kernel TLS the keys go nowhere, and the kernel is told so.
        let reason = broker.control.history.failures(1).first?.reason
        #expect(upcall.answers.count == 1 && broker.isIdle)
        #expect(upcall.answers[0].status == .success || reason == "kernelTLSUnavailable")
    }
}
