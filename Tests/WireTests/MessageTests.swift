import Handshake
import Testing
import Wire

/// Samples of every message between broker and worker.
enum Samples {
    static let limits: NegotiationLimits = {
        var limits = NegotiationLimits()
        limits.suites = ["TLS_AES_256_GCM_SHA384"]
        limits.groups = ["X25519", "SECP384R1"]
        return limits
    }()

    static let rules: PeerRules = {
        var rules = PeerRules()
        rules.pins = [Pin(.certificate, Array(0..<32)), Pin(.key, Array(32..<64))]
        rules.names = [.dns("*.example"), .uri(TextPattern("spiffe://a/*")), .email(TextPattern("?@b"))]
        if let prefix = NetworkPrefix("192.0.2.0/24") { rules.names.append(.address(prefix)) }
        rules.subjects = [TextPattern("CN=*,O=a", keepsToParts: true)]
        rules.issuers = [TextPattern("CN=ca", keepsToParts: true)]
        rules.purpose = .log
        rules.applicationProtocol = .enforce
        return rules
    }()

    static let tags: SessionTags = {
        var tags = SessionTags()
        let text = TextPattern("a*")
        tags.filters = [
            .signatureAlgorithm(text), .version(text), .serialNumber(text), .issuer(text), .subject(text),
            .notBefore(-1), .notAfter(1), .keyUsage([]), .extendedKeyUsage([Purpose.any]), .fingerprint(text),
            .selfSigned,
        ]
        tags.tags = [
            SessionTag(name: "t", required: [0, 10], excluded: [3]), SessionTag(name: "u", required: [], excluded: []),
        ]
        return tags
    }()

    static let job = HandshakeJob(
        id: 7, transport: .listener, profile: ProfileNumber(258), role: .client, authentication: .preSharedKey,
        deadline: 1_000_000_000, peerName: "server.example", priorities: "NORMAL:-GROUP-ALL", limits: limits,
        preSharedKeys: [
            PreSharedKeyField(identity: Array("NVMe1R01 nqn.h nqn.s".utf8), key: SecretRange(count: 32)),
            PreSharedKeyField(identity: Array("other".utf8), key: SecretRange(count: 48)),
        ], certificate: [0x30, 1, 2], privateKey: SecretRange(count: 5))

    static let broker: [(String, BrokerMessage)] = [
        (
            "set-up",
            .setUp(
                WorkerSetUp(
                    kernelTLS: KernelTLSCapabilities(
                        ciphers: [.aes128GCM, .chacha20Poly1305], limitsTransmitPayload: true),
                    logLevel: 3, libraryLogLevel: 9))
        ),
        (
            "credentials",
            .credentials(
                RoleCredentials(
                    profile: ProfileNumber(7), role: .server, generation: 3,
                    files: [
                        CredentialFile(kind: .trustStore, path: "/etc/ca.pem"),
                        CredentialFile(kind: .certificate, path: "/etc/c.pem"),
                        CredentialFile(kind: .certificate, pair: 2, path: "/etc/d.pem"),
                    ], privateKeyURL: "pkcs11:token=a", pairKeyURLs: [PairKeyURL(pair: 2, url: "pkcs11:b")],
                    rules: rules, limits: limits))
        ),
        ("tags", .tags(tags)),
        ("withdraw", .withdraw(profile: ProfileNumber(513))),
        ("handshake", .handshake(job)),
        ("cancel", .cancel(job: .max, reason: .overloaded)),
    ]

    static let worker: [(String, WorkerMessage)] = [
        (
            "ready",
            .ready(
                WorkerAbilities(
                    libraryVersion: "3.8.9", bindsSHA384: false, cipherSuites: "TLS_AES_128_GCM_SHA256", problem: "",
                    unconfined: "no Landlock"))
        ),
        ("heard", .heard(job: 7)),
        (
            "configured",
            .configured(
                CredentialsVerdict(
                    owner: CredentialsOwner(.standard, .client), generation: 9, problem: "bad", summary: ""))
        ),
        (
            "success",
            .result(
                job: 5,
                HandshakeResult(
                    outcome: .success(
                        NegotiatedSession(
                            cipherSuite: "TLS_AES_256_GCM_SHA384", group: "X25519", applicationProtocol: "sunrpc",
                            peerAuthenticated: true)),
                    peerCertificate: PeerCertificate(subject: "CN=a", issuer: "CN=b", notAfter: -1), pskIdentity: "id",
                    tags: ["a", "b"], remarks: ["it has no purpose"], elapsed: .milliseconds(12)))
        ),
        (
            "failure",
            .result(
                job: 6,
                HandshakeResult(
                    outcome: .failure(HandshakeFailure(.certificateExpired, "on 2020-01-01")),
                    alertSent: .certificateExpired, alertReceived: .closeNotify))
        ),
        ("log", .log(level: 1, job: 4, text: "step")),
    ]

    static var codecs: [Codec] {
        broker.map { name, message in
            Codec("broker message \(name)", message) { (message) throws(WireError) in
                try written { (span) throws(WireError) in try message.encode(to: &span).length }
            } read: { (bytes) throws(WireError) in
                try BrokerMessage(from: bytes.span)
            }
        }
            + worker.map { name, message in
                Codec("worker message \(name)", message) { (message) throws(WireError) in
                    try written { (span) throws(WireError) in try message.encode(to: &span) }
                } read: { (bytes) throws(WireError) in
                    try WorkerMessage(from: bytes.span)
                }
            } + keyCodecs
    }

    private static var keyCodecs: [Codec] {
        let answers: [(String, KeyAnswer)] = [
            ("key", .key(SecretRange(count: 32))), ("unknown", .unknown), ("unusable", .unusable("expired")),
        ]
        let lookup = Codec("key lookup", KeyLookup(job: 1, identity: Array("NVMe".utf8))) {
            (message) throws(WireError) in
            try written { (span) throws(WireError) in try message.encode(to: &span) }
        } read: { (bytes) throws(WireError) in
            try KeyLookup(from: bytes.span)
        }
        return [lookup]
            + answers.map { name, message in
                Codec("key answer \(name)", message) { (message) throws(WireError) in
                    try written { (span) throws(WireError) in try message.encode(to: &span).length }
                } read: { (bytes) throws(WireError) in
                    try KeyAnswer(from: bytes.span)
                }
            }
    }

    private static func written(
        _ body: (inout MutableSpan<UInt8>) throws(WireError) -> Int
    ) throws(WireError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: MessageLimit.message)
        var span = bytes.mutableSpan
        let length = try body(&span)
        return Array(bytes.prefix(length))
    }
}

@Suite("Messages between broker and worker")
struct MessageTests {
    @Test("each is read back as it was written", arguments: Samples.codecs)
    func roundTrip(codec: Codec) throws {
        #expect(try codec.survivesRewriting(codec.sample))
    }

    @Test("each is refused when cut off at any length", arguments: Samples.codecs)
    func truncated(codec: Codec) {
        for length in 0..<codec.sample.count {
            #expect(throws: WireError.self, "\(length) bytes") {
                try codec.survivesRewriting(Array(codec.sample.prefix(length)))
            }
        }
    }

    @Test("each is refused with a byte behind its end", arguments: Samples.codecs)
    func trailing(codec: Codec) {
        #expect {
            try codec.survivesRewriting(codec.sample + [0])
        } throws: { error in
            guard case .trailingBytes(_, let offset) = error as? WireError else { return false }
            return offset == codec.sample.count
        }
    }

    @Test("a flipped bit is either refused or makes another message that is sound", arguments: Samples.codecs)
    func flipped(codec: Codec) {
        for flip in bitFlips(of: codec.sample) {
            do throws(WireError) {
                #expect(try codec.survivesRewriting(flip.bytes), "bit \(flip.bit) of byte \(flip.index)")
            } catch {
                #expect(!error.description.isEmpty)
            }
        }
    }

    @Test("secrets get places that do not overlap, in the message that says where they are")
    func secrets() throws {
        var bytes = [UInt8](repeating: 0xee, count: 4096)
        var span = bytes.mutableSpan
        let (length, placed) = try BrokerMessage.handshake(Samples.job).encode(to: &span)
        let job = try #require(placed)
        let places = job.preSharedKeys.map(\.key.range) + [job.privateKey.range]
        #expect(places.map(\.count) == [32, 48, 5])
        #expect(zip(places, places.dropFirst()).allSatisfy { $0.upperBound <= $1.lowerBound })
        #expect(places.allSatisfy { range in range.allSatisfy { bytes[$0] == 0xee } })
        #expect(try BrokerMessage(from: bytes.span.extracting(first: length)) == .handshake(job))
    }

    @Test("an identity with a NUL, or an empty one, cannot be asked for", arguments: [[], [0], [65, 0]] as [[UInt8]])
    func identity(identity: [UInt8]) throws {
        var bytes = [UInt8](repeating: 0, count: 64)
        var span = bytes.mutableSpan
        let length = try KeyLookup(job: 1, identity: identity).encode(to: &span)
        #expect(throws: WireError.malformedText(field: "PSK identity", offset: 8)) {
            try KeyLookup(from: bytes.span.extracting(first: length))
        }
    }
}
