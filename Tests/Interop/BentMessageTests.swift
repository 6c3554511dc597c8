import CGnuTLS
import Glibc
import Handshake
import TestSupport
import Testing

@testable import TLS

/// One message of a peer's that is wrong though it is encrypted, and what must be made of it.
struct BentMessage: Sendable, CustomTestStringConvertible {
    let name: String
    /// Who sends it.
    let sender: Role
    let type: gnutls_handshake_description_t
    let bend: @Sendable (inout [UInt8]) -> Void
    let alert: Alert
    let reason: FailureReason
    /// What `gnutls-serv` or `gnutls-cli` answers where that is something else, and why ours is another.
    var library: (alert: Alert?, why: String)?
    var certificate = "ecdsa"
    /// What the failure names.
    var detail = ""

    var testDescription: String { "\(sender): \(name)" }

    init(
        _ sender: Role, _ name: String, _ type: gnutls_handshake_description_t, _ alert: Alert,
        _ reason: FailureReason = .protocolViolation, library: (Alert?, String)? = nil, certificate: String = "ecdsa",
        detail: String = "", bend: @escaping @Sendable (inout [UInt8]) -> Void
    ) {
        self.name = name
        self.sender = sender
        self.type = type
        self.alert = alert
        self.reason = reason
        self.library = library
        self.certificate = certificate
        self.detail = detail
        self.bend = bend
    }

    /// Of either role: it has the same form.
    static func both(
        _ name: String, _ type: gnutls_handshake_description_t, _ alert: Alert,
        _ reason: FailureReason = .protocolViolation, library: (Alert?, String)? = nil, certificate: String = "ecdsa",
        detail: String = "", bend: @escaping @Sendable (inout [UInt8]) -> Void
    ) -> [BentMessage] {
        [Role.client, .server].map {
            BentMessage(
                $0, name, type, alert, reason, library: library, certificate: certificate, detail: detail, bend: bend)
        }
    }

    /// Replaces the two bytes of the signature's scheme.
    private static func scheme(_ number: Int) -> @Sendable (inout [UInt8]) -> Void {
        { $0.replaceSubrange(4..<6, with: bytes16(number)) }
    }

    private static let foreign = "RFC 8446 §6.2: a certificate of a kind that is not supported"

    static let verify = GNUTLS_HANDSHAKE_CERTIFICATE_VERIFY
    static let certificates = GNUTLS_HANDSHAKE_CERTIFICATE_PKT

    static let all: [BentMessage] = lists.flatMap { $0 }

    /// A list of lists: a sum of so many takes Swift 6.2.3 too long to type-check.
    private static let lists: [[BentMessage]] = [
        both("a CertificateVerify of another curve's scheme", verify, .illegalParameter, bend: scheme(0x0503)),
        both("a CertificateVerify of another key's scheme", verify, .illegalParameter, bend: scheme(0x0804)),
        both(
            "a CertificateVerify with PKCS #1 v1.5", verify, .illegalParameter, certificate: "rsa", bend: scheme(0x0401)
        ),
        both("a CertificateVerify of an unknown scheme", verify, .illegalParameter, bend: scheme(0x5A5A)),
        both("a CertificateVerify with SHA-1", verify, .illegalParameter, bend: scheme(0x0203)),
        [
            (Role.client, nil, "gnutls-serv judges the certificate after the handshake, without an alert"),
            (.server, .badCertificate, "RFC 8446 §6.2: certificate_expired is for one that is not currently valid"),
        ].map { (role: Role, answer: Alert?, reason: String) in
            BentMessage(
                role, "a certificate that is not yet valid", certificates, .certificateExpired, .certificateNotYetValid,
                library: (answer, reason), certificate: "future", detail: "CN=future is valid from 2055-01-01 on"
            ) { _ in }
        },
        both("a wrong signature", verify, .decryptError, .certificateSignatureInvalid) { $0[$0.count - 1] ^= 1 },
        both(
            "a signature longer than its message", verify, .decodeError,
            library: (.internalError, "RFC 8446 §6.2: it cannot be decoded, and nothing of ours has failed")
        ) { $0[6] = 0x7F },
        both("a signature of no bytes", verify, .illegalParameter) { $0.replaceSubrange(6..<8, with: [0, 0]) },
        both("a wrong Finished", GNUTLS_HANDSHAKE_FINISHED, .decryptError) { $0[10] ^= 1 },
        both("a certificate list that is too long", certificates, .decodeError) { $0[6] = 0x7F },
        both("a certificate that is longer than its list", certificates, .decodeError) { $0[8] = 0x7F },
        both("a certificate that is no DER", certificates, .badCertificate, .certificateInvalid) { $0[11] = 0x31 },
        both(
            "a certificate with an extension twice", certificates, .badCertificate, .certificateInvalid,
            library: (.internalError, "RFC 8446 §6.2: the certificate is to blame, nothing of ours"),
            certificate: "extended"
        ) {
            $0.replace([0x55, 0x1D, 98], with: [0x55, 0x1D, 99])
        },
        both(
            "a certificate with a subjectAltName that cannot be read", certificates, .badCertificate,
            .certificateInvalid
        ) {
            let name = $0.index(of: [0x55, 0x1D, 0x11])
            $0[name + 5] = 0x31
        },
        both(
            "a certificate with a key on secp192r1", certificates, .unsupportedCertificate, .certificateInvalid,
            library: (.illegalParameter, foreign), detail: "the curve secp192r1,"
        ) {
            // id-ecPublicKey, then the curve.
            let key = $0.index(of: [0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01])
            $0[key + 16] = 0x01
        },
        [
            ("secp224r1", "secp224r1", .illegalParameter), ("secp256k1", "secp256k1", .handshakeFailure),
            ("brainpoolP256r1", "brainpoolP256r1", .handshakeFailure),
            ("prime256v1", "that its parameters spell out", Alert.badCertificate),
        ].flatMap { file, curve, alert in
            both(
                "a certificate with a key on the curve \(curve)", certificates, .unsupportedCertificate,
                .certificateInvalid, library: (alert, foreign), certificate: "long-1", detail: "the curve \(curve),"
            ) { $0.replaceCertificate(with: Fixtures.shared.der(file + ".pem")) }
        },
        [
            BentMessage(.client, "a request context in a Certificate", certificates, .illegalParameter) { $0[4] = 1 },
            BentMessage(
                .server, "a session id that is not ours", GNUTLS_HANDSHAKE_SERVER_HELLO, .illegalParameter,
                library: (
                    nil,
                    "RFC 8446 §4.1.3: the client must abort with illegal_parameter; GnuTLS goes on, by keys of another transcript"
                )
            ) {
                $0[39] ^= 1
            },
            BentMessage(
                .server, "a cipher suite that was not offered", GNUTLS_HANDSHAKE_SERVER_HELLO, .illegalParameter,
                library: (.handshakeFailure, "RFC 8446 §4.1.3: the client must abort with illegal_parameter")
            ) {
                $0.replaceSubrange($0.firstSuite..<($0.firstSuite + 2), with: [0x13, 0x05])
            },
            BentMessage(.server, "a compression method", GNUTLS_HANDSHAKE_SERVER_HELLO, .illegalParameter) {
                $0[$0.firstSuite + 2] = 1
            },
            BentMessage(.server, "TLS 1.2 as its version", GNUTLS_HANDSHAKE_SERVER_HELLO, .illegalParameter) {
                $0.replace([0, 43, 0, 2, 3, 4], with: [0, 43, 0, 2, 3, 3])
            },
            BentMessage(
                .server, "extensions of a ServerHello that are too long", GNUTLS_HANDSHAKE_SERVER_HELLO, .decodeError
            ) {
                $0[$0.firstSuite + 4] ^= 0x40
            },
            BentMessage(
                .server, "a key share of a group that was not offered", GNUTLS_HANDSHAKE_SERVER_HELLO, .illegalParameter
            ) {
                $0.replaceGroup(with: 0x0A0A)
            },
            BentMessage(
                .server, "EncryptedExtensions that are too long", GNUTLS_HANDSHAKE_ENCRYPTED_EXTENSIONS, .decodeError
            ) {
                $0[5] ^= 0x40
            },
            BentMessage(
                .server, "an extension that we did not ask for", GNUTLS_HANDSHAKE_ENCRYPTED_EXTENSIONS,
                .unsupportedExtension,
                library: (
                    .decryptError,
                    "RFC 8446 §4.2: the client must abort with unsupported_extension; GnuTLS passes over it and sees the signature fail"
                )
            ) {
                $0[7] = 0x5A
            },
        ],
    ]
}

extension [UInt8] {
    /// Where a ServerHello has its cipher suite.
    fileprivate var firstSuite: Int { 4 + 2 + 32 + 1 + Int(self[38]) }

    fileprivate func index(of bytes: [UInt8]) -> Int {
        guard let range = firstRange(of: bytes) else { preconditionFailure("not there") }
        return range.lowerBound
    }

    fileprivate mutating func replace(_ bytes: [UInt8], with others: [UInt8]) {
        let start = index(of: bytes)
        replaceSubrange(start..<(start + bytes.count), with: others)
    }

    /// Puts another certificate in the place of the only one, and behind it one of zeros that fills the rest.
    fileprivate mutating func replaceCertificate(with certificate: [UInt8]) {
        let rest = count - 8 - (1 + 2 + certificate.count + 2) - (1 + 2 + 2)
        let zeros: [UInt8] = [0] + vector16(Array(repeating: 0, count: rest)) + [0, 0]
        self = Array(self[..<8])
        append(contentsOf: [0] + vector16(certificate) + [0, 0])
        append(contentsOf: zeros)
    }

    fileprivate mutating func replaceGroup(with group: Int) {
        let start = index(of: [0, 51])
        replaceSubrange((start + 4)..<(start + 6), with: bytes16(group))
    }
}

@Suite("messages to the letter") struct BentMessageTests {
    @Test("a message that is wrong is its sender's fault, and answered with its alert", arguments: BentMessage.all)
    func ours(_ bent: BentMessage) throws {
        let (near, far) = try Loopback.pair()
        let peer = try Self.peer(bent, on: far)
        var plan = Engine.Plan.server()
        if bent.sender == .server {
            plan = Engine.Plan()
            plan.authentication = .x509
            plan.certificate = "rsa"
        }
        let engine = try Engine(plan, on: near)
        let failure = try #require(engine.failure { peer.step() })
        try peer.run()
        #expect(failure.reason == bent.reason, "\(failure)")
        #expect(bent.detail.isEmpty || failure.detail.contains(bent.detail), "\(failure)")
        #expect(engine.session.alertSent == bent.alert, "\(failure)")
        #expect(peer.alert == bent.alert)
    }

    @Test("the GnuTLS tools say the same", arguments: BentMessage.all)
    func library(_ bent: BentMessage) throws {
        let files = Fixtures.shared
        let peer: BentPeer
        let program: PeerProgram
        if bent.sender == .client {
            let (made, port) = try Peers.gnutlsServer(["--x509cafile", files.path("ca.pem"), "--require-client-cert"])
            program = made
            peer = try Self.peer(bent, on: Loopback.connect(port))
        } else {
            let (made, socket) = try Peers.gnutlsClient([])
            program = made
            peer = try Self.peer(bent, on: socket)
        }
        let alert = bent.library.map(\.alert) ?? bent.alert
        try peer.run(isEchoed: alert == nil)
        #expect(peer.alert == alert, "\(program.text)")
    }

    private static func peer(_ bent: BentMessage, on socket: Int32) throws -> BentPeer {
        try BentPeer(bent.sender, on: socket, certificate: bent.certificate) { type, message in
            if type == bent.type.rawValue { bent.bend(&message) }
        }
    }
}
