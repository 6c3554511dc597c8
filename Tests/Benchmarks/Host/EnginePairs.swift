import Glibc
import Handshake
import Inspect
import System
import TLS
import Unconfined
import Wire

/// Pairs of our engine's handshakes, both ends in this thread over a socket pair, as the bare loop does it; all but the
/// kernel's part.
final class EnginePairs {
    private let environment: TLSEnvironment
    private let client: Credentials?
    private let server: Credentials?
    private var secrets: SecretBuffer
    private let isPSK: Bool
    private static let identity = Array("NVMe0R01 host subsystem".utf8)

    init(folder: String, isPSK: Bool) {
        self.isPSK = isPSK
        do {
            environment = try TLSEnvironment(
                KernelTLSCapabilities(ciphers: Set(KernelCipher.allCases), limitsTransmitPayload: true))
            secrets = try SecretBuffer(capacity: 64)
            secrets.withMutableSpan { span in for index in 0..<32 { span[index] = 7 } }
            client = isPSK ? nil : try Self.credentials(.client, folder)
            server = isPSK ? nil : try Self.credentials(.server, folder)
        } catch {
            fail("\(error)")
        }
    }

    /// Has the next pair verify its certificates as if they were new.
    func forget() {
        client?.forgetVerifiedChains()
        server?.forgetVerifiedChains()
    }

    /// One pair, from fresh sessions to closed ones; whether it worked.
    func pair() -> Bool {
        var sockets: [Int32] = [0, 0]
        guard unsafe socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &sockets) == 0 else { return false }
        defer { sockets.forEach { close($0) } }
        do throws(HandshakeFailure) {
            let first = try session(.client, sockets[0], client)
            let second = try session(.server, sockets[1], server)
            var clientStep = first.step(), serverStep = second.step()
            while true {
                if case .failed = clientStep { return false }
                if case .failed = serverStep { return false }
                if case .finished = serverStep {
                    if case .finished = clientStep { return true }
                    // As the consumer's first record would: the server accepts us, and there is no need to wait for its
                    // verdict.
                    if case .wants(_, .some) = clientStep { return true }
                } else {
                    serverStep = second.step()
                }
                clientStep = first.step()
            }
        } catch {
            return false
        }
    }

    private func session(
        _ role: Role, _ socket: Int32, _ credentials: Credentials?
    ) throws(HandshakeFailure) -> HandshakeSession {
        var job = HandshakeJob(
            id: 1, role: role, authentication: isPSK ? .preSharedKey : .x509, deadline: .max,
            peerName: role == .client ? "server.rig" : nil)
        if isPSK, role == .client {
            job.preSharedKeys = [PreSharedKeyField(identity: Self.identity, key: SecretRange(0..<32))]
        }
        return try HandshakeSession(
            job, secrets: secrets, socket: socket, environment: environment, credentials: credentials,
            findKey: { _, key in
                key.withMutableSpan { span in for index in 0..<32 { span[index] = 7 } }
                return .key(count: 32)
            }, log: SessionLog(upTo: 0) { _, _ in })
    }

    static func credentials(_ role: Role, _ folder: String) throws -> Credentials {
        let files = [
            (CredentialKind.trustStore, "ca.pem"), (.certificate, "\(role).pem"), (.privateKey, "\(role).key"),
        ].map { CredentialFile(kind: $0.0, path: "\(folder)/\($0.1)") }
        var loader = try CredentialsLoader(RoleCredentials(role: role, generation: 1, files: files))
        for file in files { try loader.load(file, try SealedFile(copying: file.path).takeDescriptor()) }
        return try loader.finish()
    }
}
