import Foundation
import Handshake
import SigningWire
import Testing
import Wire

/// Samples of every message between our processes.
enum Samples {
    static let limits: NegotiationLimits = {
        var limits = NegotiationLimits()
        limits.suites = ["TLS_AES_256_GCM_SHA384"]
        limits.groups = ["X25519", "SECP384R1"]
        return limits
    }()

    static let rules: PeerRules = {
        var rules = PeerRules()
        rules.requiresCertificate = true
        rules.pins = [Pin(.certificate, Array(0..<32)), Pin(.key, Array(32..<64))]
        rules.names = [.dns("*.example"), .uri(TextPattern("spiffe://a/*")), .email(TextPattern("?@b"))]
        if let prefix = NetworkPrefix("192.0.2.0/24") { rules.names.append(.address(prefix)) }
        rules.subjects = ["CN=*,O=a"].compactMap(NamePattern.init)
        rules.issuers = ["CN=ca"].compactMap(NamePattern.init)
        rules.purpose = .log
        rules.leastRSABits = 3072
        rules.applicationProtocol = .enforce
        rules.missingList = .log
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
        ], certificate: [0x30, 1, 2], privateKey: SecretRange(count: 5), keepFor: 3600)

    static let broker: [(String, BrokerMessage)] = [
        (
            "set-up",
            .setUp(
                WorkerSetUp(
                    kernelTLS: KernelTLSCapabilities(
                        ciphers: [.aes128GCM, .chacha20Poly1305], limitsTransmitPayload: true, rekeys: true),
                    logLevel: 3, libraryLogLevel: 9, memoryLimit: 1 << 30))
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
                    ],
                    rules: rules, limits: limits, floors: floors))
        ),
        ("tags", .tags(tags)),
        ("withdraw", .withdraw(profile: ProfileNumber(513))),
        ("signer", .signer(.tokens)),
        ("handshake", .handshake(job)),
        (
            "key update",
            .keyUpdate(
                KeyUpdateJob(
                    id: 8, session: 7, steps: [.receive, .send, .updateRequested], deadline: 1_000_000_000,
                    keepFor: 3600))
        ),
        ("cancel", .cancel(job: .max, reason: .overloaded)),
    ]

    static let confinement: Confinement = {
        var confinement = Confinement()
        confinement.has("user tlshd")
        confinement.has("seccomp")
        confinement.lacks("no Landlock")
        return confinement
    }()

    static let floors = [
        RevocationFloor(issuer: Array(0..<32), number: [1, 0], thisUpdate: 1_900_000_000),
        RevocationFloor(issuer: Array(1...32), number: [], thisUpdate: -1),
    ]

    static let facts: CredentialsFacts = {
        var facts = CredentialsFacts()
        for (pair, end) in [(UInt8(1), Int64(4_000_000_000)), (0, -1)] {
            facts.add(
                .init(
                    kind: .certificate, pair: pair,
                    CertificateDescription(subject: "CN=a", issuer: "CN=b", notBefore: 5, notAfter: end)))
        }
        facts.authorities = 140
        facts.revocationLists = 2
        facts.nextUpdate = 2_000_000_000
        facts.floors = floors
        facts.warning = "a small key"
        return facts
    }()

    static let worker: [(String, WorkerMessage)] = [
        (
            "ready",
            .ready(
                WorkerAbilities(
                    libraryVersion: "3.8.9", bindsSHA384: false, cipherSuites: "TLS_AES_128_GCM_SHA256", problem: "",
                    confinement: confinement))
        ),
        ("heard", .heard(job: 7)),
        (
            "configured",
            .configured(
                CredentialsVerdict(
                    owner: CredentialsOwner(.standard, .client), generation: 9, problem: "bad", summary: ""))
        ),
        (
            "in force",
            .configured(
                CredentialsVerdict(
                    owner: CredentialsOwner(ProfileNumber(3), .server), generation: 10, problem: "", summary: "good",
                    facts: facts))
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
                    peerCertificate: CertificateDescription(
                        subject: "CN=a", issuer: "CN=b", notBefore: 5, notAfter: -1),
                    pskIdentity: "id",
                    tags: ["a", "b"], remarks: ["it has no purpose"], elapsed: .milliseconds(12),
                    processorTime: .microseconds(3400)))
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

    /// In the order of FuzzMessages, which chooses by the first byte.
    static var codecs: [Codec] {
        let all: [[Codec]] = [
            broker.map { Codec("broker message \($0)", $1, fuzzedAs: 0) },
            worker.map { Codec("worker message \($0)", $1, fuzzedAs: 1) },
            keyLookups.map { Codec($0, $1, fuzzedAs: 2) },
            keyAnswers.map { Codec("key answer \($0)", $1, fuzzedAs: 3) },
            orders.map { Codec("order \($0)", $1, fuzzedAs: 4) },
            reports.map { Codec("report \($0)", $1, fuzzedAs: 5) },
            questions.map { Codec("question \($0)", $1, fuzzedAs: 6) },
            answers.map { Codec("answer \($0)", $1, fuzzedAs: 7) },
        ]
        return all.flatMap { $0 }
    }

    static let keyLookups = [("key lookup", KeyLookup(job: 1, identity: Array("NVMe".utf8)))]

    static let keyAnswers: [(String, KeyAnswer)] = [
        ("key", .key(SecretRange(count: 32))), ("unknown", .unknown), ("unusable", .unusable("expired")),
    ]

    static let orders: [(String, SignerOrder)] = [
        ("set-up", .setUp(.tokens, libraryLogLevel: 4, memoryLimit: 1 << 30)),
        (
            "load",
            .load(
                SignerKeys(
                    owner: CredentialsOwner(ProfileNumber(258), .server), generation: 77,
                    parts: [
                        SignerPart(
                            kind: .certificate, place: "pkcs11:token=t",
                            source: .url("pkcs11:token=t;type=cert", hasPIN: false)),
                        SignerPart(kind: .privateKey, place: "/etc/key.pem", source: .file),
                        SignerPart(
                            kind: .privateKey, pair: 1, place: "pkcs11:token=t",
                            source: .url("pkcs11:token=t;object=k", hasPIN: true)),
                    ]))
        ),
        ("release", .release(owner: CredentialsOwner(.standard, .client), generation: .max)),
        (
            "permit",
            .permit(
                SigningPermit(
                    job: 9, worker: 3, owner: CredentialsOwner(ProfileNumber(2), .server), isForRequestKey: true,
                    key: SecretRange(count: 12), isReported: true))
        ), ("forget", .forget(job: 9)),
        ("connect", .connect(worker: 17)), ("ping", .ping),
    ]

    static let reports: [(String, SignerReport)] = [
        ("ready", .ready(confinement)),
        (
            "loaded",
            .loaded(
                SignerVerdict(
                    owner: CredentialsOwner(.standard, .server), generation: 3, parts: [[1, 2, 3], Array("PEM".utf8)]))
        ),
        (
            "refused",
            .loaded(
                SignerVerdict(
                    owner: CredentialsOwner(.standard, .server), generation: 3, problem: "no token", isPassing: true))
        ), ("alive", .alive), ("misbehaved", .misbehaved(worker: 4, text: "a question of 9 bytes")),
        ("signed", .signed(job: 9, worker: 3, text: "the key /etc/key.pem")),
    ]

    static let questions: [(String, SigningQuestion)] = [
        (
            "signature",
            .sign(
                SigningRequest(
                    job: 12,
                    key: KeyReference(
                        CredentialsOwner(.standard, .server), generation: 2, kind: .privateKey, pair: 0),
                    scheme: .ecdsaSecp256r1SHA256, role: .server, digest: Array(0..<32)))
        ), ("description", .describe(job: 12)),
    ]

    static let answers: [(String, SigningAnswer)] = [
        ("signature", .signature([1, 2, 3, 4])), ("public key", .publicKey([0x30, 0])), ("refusal", .refused("no")),
    ]
}

extension Codec {
    init<Message: ChannelMessage>(_ name: String, _ message: Message, fuzzedAs selector: UInt8) {
        self.init(name, message) { (message) throws(WireError) in
            try written(message).bytes
        } read: { (bytes) throws(WireError) in
            try read(bytes)
        }
        fuzzInput = [selector] + sample
    }
}

/// Writes a message.
func written<Message: ChannelMessage>(
    _ message: Message, over background: UInt8 = 0
) throws(WireError) -> (bytes: [UInt8], placed: Message) {
    var bytes = [UInt8](repeating: background, count: MessageLimit.message)
    var span = bytes.mutableSpan
    let (length, placed) = try message.encode(to: &span)
    return (Array(bytes.prefix(length)), placed)
}

/// Reads a message.
func read<Message: ChannelMessage>(_ bytes: [UInt8]) throws(WireError) -> Message {
    var copy = bytes
    var span = copy.mutableSpan
    return try Message(from: &span, length: bytes.count)
}

@Suite("Messages between our processes")
struct MessageTests {
    @Test("each is read back as it was written", arguments: Samples.codecs)
    func roundTrip(codec: Codec) throws {
        #expect(try codec.survivesRewriting(codec.sample))
    }

    @Test("each is among the fuzzer's samples as it is written today", arguments: Samples.codecs)
    func fuzzed(codec: Codec) throws {
        let corpus = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../Fuzz/corpus/messages")
        let file = corpus.appending(path: codec.testDescription.replacing(" ", with: "-"))
        if ProcessInfo.processInfo.environment["TLSHD_RECORD"] != nil { try Data(codec.fuzzInput).write(to: file) }
        #expect(
            (try? Data(contentsOf: file)).map(Array.init) == codec.fuzzInput,
            "\(file.path); remedy: TLSHD_RECORD=1 swift test --filter MessageTests")
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
        let (bytes, placed) = try written(BrokerMessage.handshake(Samples.job), over: 0xee)
        guard case .handshake(let job) = placed else {
            Issue.record("another message")
            return
        }
        let places = job.preSharedKeys.map(\.key.range) + [job.privateKey.range]
        #expect(places.map(\.count) == [32, 48, 5])
        #expect(zip(places, places.dropFirst()).allSatisfy { $0.upperBound <= $1.lowerBound })
        #expect(places.allSatisfy { range in range.allSatisfy { bytes[$0] == 0xee } })
        #expect(try read(bytes) == BrokerMessage.handshake(job))
    }

    @Test("of too many certificates those that expire first are told, and the message holds them whatever their names")
    func manyCertificates() throws {
        var facts = CredentialsFacts()
        let name = String(repeating: "\u{1}ü", count: 2000)
        for number in 0..<100 {
            let end = Int64((number * 37) % 100)
            facts.add(
                .init(
                    kind: .certificate, pair: 0,
                    CertificateDescription(subject: name, issuer: name, notBefore: 5, notAfter: end)))
        }
        #expect(facts.certificates.map(\.description.notAfter) == Array(0..<32))
        let text = String(repeating: "x", count: MessageLimit.text)
        let number = [UInt8](repeating: 255, count: RevocationFloor.longestNumber)
        facts.floors = (0..<RevocationFloor.most).map { index in
            RevocationFloor(issuer: [UInt8](repeating: UInt8(index), count: 32), number: number, thisUpdate: 1)
        }
        facts.warning = text
        let verdict = CredentialsVerdict(
            owner: CredentialsOwner(.standard, .client), generation: 1, problem: text, summary: text, facts: facts)
        let message = WorkerMessage.configured(verdict)
        #expect(try read(try written(message).bytes) == message)
    }

    @Test("a key update that moves no direction, asks without sending, or has unknown bits is refused")
    func steps() throws {
        let message = BrokerMessage.keyUpdate(KeyUpdateJob(id: 1, session: 2, steps: .send, deadline: 3, keepFor: 4))
        for steps in UInt8(0)...255 {
            var bytes = try written(message).bytes
            bytes[17] = steps
            let isValid = [1, 2, 3, 6, 7].contains(steps)
            let again: BrokerMessage? = try? read(bytes)
            #expect(isValid == (again != nil), "steps \(steps)")
        }
    }

    @Test("an identity with a NUL, or an empty one, cannot be asked for", arguments: [[], [0], [65, 0]] as [[UInt8]])
    func identity(identity: [UInt8]) throws {
        let bytes = try written(KeyLookup(job: 1, identity: identity)).bytes
        #expect(throws: WireError.malformedText(field: "PSK identity", offset: 8)) {
            let _: KeyLookup = try read(bytes)
        }
    }

    @Test("what the signer signs is a CertificateVerify's content and nothing else, whatever the worker sends")
    func content() {
        // RFC 8446 §4.4.3, the example with a hash of 32 bytes 01.
        let expected =
            String(repeating: " ", count: 64) + "TLS 1.3, server CertificateVerify\0"
            + String(repeating: "\u{1}", count: 32)
        var request = SigningRequest(
            job: 1, key: .ofRequest, scheme: .ed25519, role: .server, digest: Array(repeating: 1, count: 32))
        #expect(request.content == Array(expected.utf8))
        request.role = .client
        #expect(request.content == Array(expected.replacing("server", with: "client").utf8))
    }

    @Test("a digest that no hash of TLS 1.3 makes cannot be asked to be signed", arguments: [0, 20, 31, 33, 47])
    func digest(count: Int) throws {
        let request = SigningRequest(
            job: 1, key: .ofRequest, scheme: .ed25519, role: .server, digest: Array(repeating: 1, count: count))
        let bytes = try written(SigningQuestion.sign(request)).bytes
        #expect(throws: WireError.outOfRange(field: "transcript digest", offset: 20)) {
            let _: SigningQuestion = try read(bytes)
        }
        #expect(bytes.count <= MessageLimit.signingQuestion)
    }

    @Test("references to keys differ in each of their parts, and say whose they are")
    func references() {
        let owner = CredentialsOwner(ProfileNumber(7), .server), other = CredentialsOwner(ProfileNumber(7), .client)
        let base = KeyReference(owner, generation: 5, kind: .privateKey, pair: 2)
        let all = [
            base, KeyReference(other, generation: 5, kind: .privateKey, pair: 2),
            KeyReference(CredentialsOwner(.standard, .server), generation: 5, kind: .privateKey, pair: 2),
            KeyReference(owner, generation: 6, kind: .privateKey, pair: 2),
            KeyReference(owner, generation: 5, kind: .postQuantumPrivateKey, pair: 2),
            KeyReference(owner, generation: 5, kind: .privateKey, pair: 3), .ofRequest,
        ]
        #expect(Set(all).count == all.count)
        #expect(all.map { $0.belongs(to: owner, generation: 5) } == [true, false, false, false, true, true, false])
        #expect(all.map { $0.belongs(to: owner) } == [true, false, false, true, true, true, false])
        #expect(all.map(\.isOfRequest) == [false, false, false, false, false, false, true])
    }
}
