import CGnuTLS
import CLinux
import Glibc
import Handshake
import Policy
import Synchronization
import System
import TestSupport
import Testing
import Unconfined
import Wire

@testable import Inspect
@testable import PrivateKeys
@testable import TLS
@testable import X509

/// Runs our engine on a socket of the test's, as a worker would, save for the kernel: keys go to a `RecordLayer`.
final class Engine {
    let socket: Int32
    let session: HandshakeSession
    private(set) var lines: [String] = []

    /// Started once for all tests.
    static let isStarted: Bool = {
        do throws(GnuTLSError) {
            try GnuTLS.initialize()
            return true
        } catch {
            fatalError(error.description)
        }
    }()

    /// What a test wants; everything else is as an NFS client would have it.
    struct Plan {
        var role = Role.client
        var authentication = Authentication.unauthenticated
        var peerName: String? = "server.test"
        var ciphers = Set(KernelCipher.allCases)
        var limitsPayload = true
        /// Behind every priority string.
        var restriction = ""
        /// Names of fixtures: trust store, CRL, certificate, key.
        var trust: String? = "ca.pem"
        var revocation: String?
        var certificate: String?
        /// Further pairs of certificate and key.
        var others: [String] = []
        var rules = PeerRules()
        var limits = NegotiationLimits()
        var tags = SessionTags()
        /// PSKs to offer, or to know.
        var keys: [(identity: String, key: [UInt8])] = []
        /// Whether private keys are with a signer process, as they are in the daemon.
        var usesSigner = true
        /// DER of the request itself.
        var requestCertificate: [UInt8] = []
        var requestKey: [UInt8] = []
        /// Seconds for which the secrets are to be kept.
        var keepFor: UInt32 = 0

        /// A server's, with a certificate.
        static func server(_ certificate: String = "ecdsa") -> Plan {
            var plan = Plan()
            plan.role = .server
            plan.peerName = nil
            plan.authentication = .x509
            plan.certificate = certificate
            return plan
        }

        /// A server's, with these PSKs.
        static func server(keys: [(identity: String, key: [UInt8])]) -> Plan {
            var plan = Plan()
            plan.role = .server
            plan.peerName = nil
            plan.authentication = .preSharedKey
            plan.keys = keys
            return plan
        }
    }

    /// Takes the socket over.
    ///
    /// - Parameter shared: credentials instead of the plan's.
    init(_ plan: Plan, on socket: Int32, sharing shared: Credentials? = nil) throws {
        precondition(Self.isStarted)
        self.socket = socket
        Loopback.sendAtOnce(socket)
        let environment = try TLSEnvironment(
            KernelTLSCapabilities(ciphers: plan.ciphers, limitsTransmitPayload: plan.limitsPayload),
            restriction: plan.restriction)
        let hasKey = plan.certificate != nil || !plan.requestKey.isEmpty
        signer = plan.usesSigner && hasKey ? try Self.signer(for: plan) : nil
        let conversation = try signer?.connect()
        self.conversation = conversation
        let credentials =
            try shared ?? (plan.authentication == .preSharedKey ? nil : Self.credentials(plan, conversation?.call))
        var secrets = try SecretBuffer(capacity: 65_536)
        var offset = 0
        func place(_ bytes: [UInt8]) -> SecretRange {
            secrets.withMutableSpan { span in for (index, byte) in bytes.enumerated() { span[offset + index] = byte } }
            defer { offset += bytes.count }
            return SecretRange(offset..<(offset + bytes.count))
        }
        var job = HandshakeJob(
            id: 1, role: plan.role, authentication: plan.authentication, deadline: .max, peerName: plan.peerName,
            limits: plan.limits, certificate: plan.requestCertificate, keepFor: plan.keepFor)
        if plan.role == .client {
            job.preSharedKeys = plan.keys.map {
                PreSharedKeyField(identity: Array($0.identity.utf8), key: place($0.key))
            }
        }
        if signer == nil { job.privateKey = place(plan.requestKey) }
        let collector = LineCollector()
        let known = plan.keys
        session = try HandshakeSession(
            job, secrets: secrets, socket: socket, environment: environment, credentials: credentials,
            tags: plan.tags, signer: conversation?.call,
            findKey: { identity, buffer in
                guard let found = known.first(where: { Array($0.identity.utf8) == identity }) else { return .unknown }
                buffer.withMutableSpan { span in for (index, byte) in found.key.enumerated() { span[index] = byte } }
                return .key(count: found.key.count)
            }, log: SessionLog(upTo: 3) { _, text in collector.lines.append(text) })
        self.collector = collector
    }

    private let signer: SignerUnderTest?
    /// What was asked of the signer.
    let conversation: SignerConversation?
    private let collector: LineCollector
    var log: [String] { collector.lines }

    private final class LineCollector {
        var lines: [String] = []
    }

    deinit { close(socket) }

    /// A signer that holds the plan's keys.
    private static func signer(for plan: Plan) throws -> SignerUnderTest {
        let signer = try SignerUnderTest()
        try signer.setUp()
        if let certificate = plan.certificate {
            let verdict = try signer.load(
                [(.privateKey, .file, keyName(certificate))], others: plan.others.map { $0 + ".key" }, role: plan.role)
            #expect(verdict?.problem == "")
        }
        let requestKey = plan.requestKey.isEmpty ? nil : plan.requestKey
        try signer.permit(1, CredentialsOwner(.standard, plan.role), key: requestKey)
        return signer
    }

    /// The long chain is in several files, in different orders, with one key.
    private static func keyName(_ certificate: String) -> String {
        (certificate.hasPrefix("long") ? "long-leaf" : certificate) + ".key"
    }

    static func credentials(_ plan: Plan, _ signer: SignerCall? = nil) throws -> Credentials {
        var files: [(CredentialKind, String)] = []
        if let trust = plan.trust { files.append((.trustStore, trust)) }
        if let revocation = plan.revocation { files.append((.revocationList, revocation)) }
        if let certificate = plan.certificate {
            files.append((.certificate, certificate + ".pem"))
            files.append((.privateKey, keyName(certificate)))
        }
        return try credentials(plan.role, files, others: plan.others, plan.rules, signer)
    }

    static func credentials(
        _ role: Role, _ files: [(CredentialKind, String)], others: [String] = [], _ rules: PeerRules = PeerRules(),
        _ signer: SignerCall? = nil, floors: [RevocationFloor] = []
    ) throws -> Credentials {
        precondition(isStarted)
        var listed = files.map { CredentialFile(kind: $0.0, path: Fixtures.shared.path($0.1)) }
        for (index, name) in others.enumerated() {
            let pair = UInt8(index + 1)
            listed.append(CredentialFile(kind: .certificate, pair: pair, path: Fixtures.shared.path(name + ".pem")))
            listed.append(CredentialFile(kind: .privateKey, pair: pair, path: Fixtures.shared.path(name + ".key")))
        }
        let specification = RoleCredentials(role: role, generation: 1, files: listed, rules: rules, floors: floors)
        var loader =
            if let signer {
                try CredentialsLoader(specification, signer: signer)
            } else {
                try CredentialsLoader(specification)
            }
        for file in listed {
            if signer != nil, file.kind == .privateKey {
                let key = try unsafe Fixtures.shared.bytes(String(file.path.split(separator: "/").last ?? ""))
                    .withUnsafeBytes { try unsafe SigningKey(pem: $0) }
                try loader.load(file, try SealedFile.make(named: "public", holding: key.publicPEM))
            } else {
                try loader.load(file, try Self.copy(of: file))
            }
        }
        return try loader.finish()
    }

    /// What a worker is given of a file, but for private keys.
    private static func copy(of file: CredentialFile) throws -> OwnedDescriptor {
        let whole = try SealedFile(copying: file.path).takeDescriptor()
        guard file.kind != .privateKey else { return whole }
        var content = PublicPEM()
        let contents = try SealedContents(of: whole)
        contents.withSpan { content.add($0, mayBeDER: file.kind == .revocationList) }
        return try SealedFile.make(named: "public", holding: content.bytes)
    }

    /// Runs until it is finished or has failed.
    ///
    /// - Parameters:
    ///   - pump: called every turn, for peers that live in the test.
    ///   - judge: called in its place when our Finished has left and a server may refuse our certificate, for which we
    ///     wait some milliseconds: it lets the server speak. That has to be heard however late it comes.
    @discardableResult
    func run(pump: (() -> Void)? = nil, judge: (() -> Void)? = nil) -> HandshakeSession.Step {
        let end = Clock.deadline(in: .seconds(60))
        while true {
            if let judge, log.contains(where: { $0.hasPrefix("handshake done") }) {
                judge()
                guard awaitInput(socket) else { return .failed(HandshakeFailure(.deadlineExceeded, "in the test")) }
            } else {
                pump?()
            }
            let step = session.step()
            guard case .wants(let interest, let until) = step else { return step }
            let now = Clock.monotonicNanoseconds()
            guard now < end else { return .failed(HandshakeFailure(.deadlineExceeded, "in the test")) }
            let longest: UInt64 = pump == nil ? 200_000_000 : 1_000_000
            let wait = min(until.map { $0 > now ? $0 - now : 0 } ?? longest, longest)
            let events = (interest.contains(.read) ? POLLIN : 0) | (interest.contains(.write) ? POLLOUT : 0)
            var entry = pollfd(fd: socket, events: Int16(events), revents: 0)
            _ = unsafe poll(&entry, 1, Int32((wait + 999_999) / 1_000_000))
        }
    }

    /// Runs, and gives the failure, if it is one.
    func failure(pump: (() -> Void)? = nil, judge: (() -> Void)? = nil) -> HandshakeFailure? {
        guard case .failed(let failure) = run(pump: pump, judge: judge) else {
            print("unexpected success\n" + log.joined(separator: "\n"))
            return nil
        }
        return failure
    }

    /// Runs, and gives what was agreed, if it succeeds.
    func success(pump: (() -> Void)? = nil, judge: (() -> Void)? = nil) -> NegotiatedSession? {
        switch run(pump: pump, judge: judge) {
        case .finished(let negotiated): return negotiated
        case .failed(let failure):
            print("unexpected failure: \(failure.reason) \(failure.detail)\n" + log.joined(separator: "\n"))
            return nil
        case .wants: return nil
        }
    }

    /// A record layer with the keys that the kernel would be given.
    func records() -> RecordLayer {
        RecordLayer(
            socket: socket, transmit: cryptoInfo(receive: false), receive: cryptoInfo(receive: true))
    }

    private func cryptoInfo(receive: Bool) -> [UInt8] {
        var info = [UInt8](repeating: 0, count: Int(CGNUTLS_CRYPTO_INFO_SIZE))
        let count = unsafe cgnutls_crypto_info(session.session, receive ? 1 : 0, &info)
        return Array(info.prefix(Int(count)))
    }
}
