import CGnuTLS
import Foundation
import Glibc
import Handshake
import SigningWire
import System
import Testing
import Unconfined
import Wire

@testable import TLS
@testable import X509

@Suite("the signer process") struct SignerProcessTests {
    static let reference = KeyReference(
        CredentialsOwner(.standard, .server), generation: 1, kind: .privateKey, pair: 0)
    static let digest = [UInt8](0..<32)

    static func question(
        _ scheme: SignatureScheme, job: UInt64 = 1, role: Role = .server, key: KeyReference = reference,
        digest: [UInt8] = digest
    ) -> SigningQuestion {
        .sign(SigningRequest(job: job, key: key, scheme: scheme, role: role, digest: digest))
    }

    /// Whether a signature is good, by the certificate that belongs to the key.
    private func isGood(_ answer: SigningAnswer?, of question: SigningQuestion, by name: String) throws -> Bool {
        guard case .signature(let signature)? = answer, case .sign(let request) = question else { return false }
        let pem = Fixtures.shared.bytes(name + ".pem")
        let certificate = try #require(
            try unsafe pem.withUnsafeBytes { try unsafe Certificate.list(fromPEM: $0) }.first)
        let key = try PublicKey(of: certificate)
        let algorithm = try #require(SchemeTable(key).algorithm(of: request.scheme))
        do throws(GnuTLSError) {
            try key.verify(signature, of: request.content, by: algorithm)
            return true
        } catch {
            return false
        }
    }

    @Test(
        "it signs with every kind of key, under the schemes that fit it, and no other",
        arguments: [
            ("rsa", [.rsaPSSRSAESHA256, .rsaPSSRSAESHA384, .rsaPSSRSAESHA512]),
            ("ecdsa", [.ecdsaSecp256r1SHA256]), ("p384", [.ecdsaSecp384r1SHA384]), ("p521", [.ecdsaSecp521r1SHA512]),
            ("pss-sha256", [.rsaPSSPSSSHA256]), ("pss-sha384", [.rsaPSSPSSSHA384]), ("pss-sha512", [.rsaPSSPSSSHA512]),
            ("ed25519", [.ed25519]),
        ] as [(String, [SignatureScheme])])
    func signs(name: String, schemes: [SignatureScheme]) throws {
        let signer = try SignerUnderTest()
        try signer.setUp()
        let verdict = try #require(try signer.load([(.privateKey, .file, name + ".key")]))
        #expect(verdict.problem.isEmpty && verdict.parts.count == 1)
        _ = try signer.load([(.privateKey, .file, name + ".key")], role: .client)
        #expect(String(decoding: verdict.parts[0], as: UTF8.self).hasPrefix("-----BEGIN PUBLIC KEY-----"))
        let worker = try signer.connect()
        for scheme in SignatureScheme.allCases {
            for (role, digest) in [(Role.server, Self.digest), (.client, Array(0..<48))] {
                let key = KeyReference(CredentialsOwner(.standard, role), generation: 1, kind: .privateKey, pair: 0)
                let question = Self.question(scheme, role: role, key: key, digest: digest)
                try signer.permit(1, CredentialsOwner(.standard, role))
                let answer = try worker.ask(question)
                if schemes.contains(scheme) {
                    #expect(try isGood(answer, of: question, by: name), "\(scheme)")
                } else {
                    guard case .refused(let why)? = answer else {
                        Issue.record("\(scheme): \(String(describing: answer))")
                        continue
                    }
                    #expect(why.contains("the key cannot make signatures of the scheme"))
                }
            }
        }
    }

    @Test(
        "a key on a curve that TLS 1.3 does not have is refused when it is loaded, by the name of the curve",
        arguments: [
            ("secp224r1", "secp224r1"), ("secp256k1", "secp256k1"), ("brainpoolP256r1", "brainpoolP256r1"),
            ("prime256v1", "that its parameters spell out"),
        ])
    func foreignCurves(_ curve: String, _ name: String) throws {
        let signer = try SignerUnderTest()
        try signer.setUp()
        let verdict = try #require(try signer.load([(.privateKey, .file, curve + ".key")]))
        let text =
            "it is on the curve \(name), which TLS 1.3 does not have; use one on secp256r1, secp384r1 or secp521r1"
        #expect(verdict.problem.hasSuffix(text), "\(verdict.problem)")
        #expect(!verdict.isPassing)
        // The same without a signer, as tlshctl check has it.
        let list = [
            (CredentialKind.trustStore, "ca.pem"), (.certificate, curve + ".pem"), (.privateKey, curve + ".key"),
        ]
        let error = #expect(throws: TextError.self) { _ = try Engine.credentials(.server, list) }
        #expect(
            error?.description == "private key \(Fixtures.shared.path(curve + ".key")) cannot be used: \(text)")
    }

    @Test("keys that are not there, or not there any longer, are refused, and it goes on")
    func unknown() throws {
        let signer = try SignerUnderTest()
        try signer.setUp()
        let worker = try signer.connect()
        let question = Self.question(.ecdsaSecp256r1SHA256)
        try signer.permit()
        guard case .refused? = try worker.ask(question) else {
            Issue.record("a key that was never loaded")
            return
        }
        _ = try signer.load([(.privateKey, .file, "ecdsa.key")])
        _ = try signer.load([(.privateKey, .file, "rsa.key")], generation: 2)
        try signer.permit()
        #expect(try isGood(try worker.ask(question), of: question, by: "ecdsa"))
        try signer.send(.release(owner: CredentialsOwner(.standard, .server), generation: 1))
        try signer.permit()
        guard case .refused? = try worker.ask(question) else {
            Issue.record("one that was released")
            return
        }
        // A permit is for every generation.
        let newer = KeyReference(CredentialsOwner(.standard, .server), generation: 2, kind: .privateKey, pair: 0)
        let next = Self.question(.rsaPSSRSAESHA256, key: newer)
        try signer.permit(isReported: true)
        #expect(try isGood(try worker.ask(next), of: next, by: "rsa"))
        let text = "the key \(Fixtures.shared.path("rsa.key")) (rsaPSSRSAESHA256)"
        #expect(try signer.next() == .signed(job: 1, worker: 1, text: text))
    }

    @Test("a request's key serves the worker that runs the handshake, once")
    func requestKey() throws {
        let signer = try SignerUnderTest()
        try signer.setUp()
        let worker = try signer.connect()
        try signer.permit(77, key: Fixtures.shared.der("ecdsa.key"))
        guard case .publicKey? = try worker.ask(.describe(job: 77)) else {
            Issue.record("no description")
            return
        }
        let question = Self.question(.ecdsaSecp256r1SHA256, job: 77, key: .ofRequest)
        #expect(try isGood(try worker.ask(question), of: question, by: "ecdsa"))
        // A signer that was started meanwhile has a permit without the key.
        try signer.permit(78, key: [])
        for refused in [.describe(job: 78), Self.question(.ecdsaSecp256r1SHA256, job: 78, key: .ofRequest)] {
            guard case .refused? = try worker.ask(refused) else {
                Issue.record("whose key was it?")
                return
            }
        }
    }

    @Test("what the broker has not permitted is refused and told to it; others are served on", arguments: Offence.all)
    func withoutPermit(_ offence: Offence) throws {
        let signer = try SignerUnderTest()
        try signer.setUp()
        _ = try signer.load([(.privateKey, .file, "ecdsa.key")])
        let good = try signer.connect(9), bad = try signer.connect(1)
        try offence.permit(signer)
        if offence.isRepeated {
            let first = try bad.ask(offence.question)
            if case .refused? = first { Issue.record("it was permitted once") }
        }
        if offence.isForgotten { try signer.send(.forget(job: 1)) }
        guard case .refused? = try bad.ask(offence.question) else {
            Issue.record("it was permitted")
            return
        }
        guard case .misbehaved(worker: 1, let text)? = try signer.next() else {
            Issue.record("it was not told")
            return
        }
        #expect(text.hasPrefix("it asked without a permit: "), "\(text)")
        #expect(try bad.ask(offence.question) == nil)
        try signer.permit(5, worker: 9)
        let question = Self.question(.ecdsaSecp256r1SHA256, job: 5)
        #expect(try isGood(try good.ask(question), of: question, by: "ecdsa"))
    }

    @Test("a worker that has given up waiting is not to blame for a question whose handshake has ended meanwhile")
    func gaveUp() throws {
        let signer = try SignerUnderTest()
        try signer.setUp()
        _ = try signer.load([(.privateKey, .file, "ecdsa.key")])
        try signer.permit(1)
        try signer.signal(SIGSTOP)
        try signer.connect().leave(Self.question(.ecdsaSecp256r1SHA256))
        try signer.send(.forget(job: 1))
        try signer.signal(SIGCONT)
        // It reads the question after the first ping at the latest, and reports nothing.
        for _ in 0..<3 { try signer.settle() }
        let next = try signer.connect()
        try signer.permit(2)
        let question = Self.question(.ecdsaSecp256r1SHA256, job: 2)
        #expect(try isGood(try next.ask(question), of: question, by: "ecdsa"))
    }

    @Test("what is no question closes the worker's channel and is told to the broker; others are served on")
    func misbehaviour() throws {
        let signer = try SignerUnderTest()
        try signer.setUp()
        _ = try signer.load([(.privateKey, .file, "ecdsa.key")])
        let good = try signer.connect(1)
        let question = Self.question(.ecdsaSecp256r1SHA256)
        let offences: [(SignerConversation) throws -> SigningAnswer?] = [
            { try $0.ask(raw: [9]) }, { try $0.ask(raw: [1, 0, 0]) },
            { try $0.ask(raw: [UInt8](repeating: 1, count: MessageLimit.signingQuestion + 1)) },
            { try $0.ask(raw: [UInt8](repeating: 1, count: 100_000)) },
            { try $0.ask(raw: [2] + [UInt8](repeating: 0, count: 8), descriptors: [2]) },
            { try $0.ask(raw: [2] + [UInt8](repeating: 0, count: 9)) },
            { try $0.ask(Self.question(.ed25519, digest: Array(0..<33))) },
            { try $0.ask(Self.question(.ecdsaSecp256r1SHA256, role: .client)) },
        ]
        for (index, offence) in offences.enumerated() {
            let bad = try signer.connect(UInt32(10 + index))
            try signer.permit()
            #expect(try offence(bad) == nil)
            guard case .misbehaved(let worker, let text)? = try signer.next() else {
                Issue.record("offence \(index) was not told")
                continue
            }
            #expect(worker == UInt32(10 + index) && !text.isEmpty)
            #expect(try isGood(try good.ask(question), of: question, by: "ecdsa"))
        }
    }

    @Test("files that are no keys are named with the reason, and nothing of the set is used")
    func badFiles() throws {
        let signer = try SignerUnderTest()
        try signer.setUp()
        let verdict = try #require(try signer.load([(.privateKey, .file, "rsa.pem")]))
        #expect(verdict.problem.contains("private key \(Fixtures.shared.path("rsa.pem")) cannot be used"))
        #expect(!verdict.isPassing && verdict.parts.isEmpty)
        let half = try #require(
            try signer.load([(.privateKey, .file, "ecdsa.key")], others: ["rsa.pem"]))
        #expect(!half.problem.isEmpty)
        let worker = try signer.connect()
        try signer.permit()
        guard case .refused? = try worker.ask(Self.question(.ecdsaSecp256r1SHA256)) else {
            Issue.record("half a set is in use")
            return
        }
    }

    @Test(
        "an ML-DSA key that the library cannot use is left away, and costs the others nothing; as an ordinary key it is refused"
    )
    func postQuantum() throws {
        let text =
            "-----BEGIN PRIVATE KEY-----\nMDQCAQAwCwYJYIZIAWUDBAMSBCKAIMS6znfCYKO2s5HJ7ClKtGbO3e2ZMH02bCJ4\nyhFLKLhv\n-----END PRIVATE KEY-----\n"
        Fixtures.shared.write(Array(text.utf8), as: "mldsa.key")
        let signer = try SignerUnderTest()
        try signer.setUp()
        let verdict = try #require(
            try signer.load([(.privateKey, .file, "ecdsa.key"), (.postQuantumPrivateKey, .file, "mldsa.key")]))
        #expect(verdict.problem == "")
        #expect(verdict.parts.count == 2 && verdict.parts.first?.isEmpty == false)
        #expect(verdict.parts.last?.isEmpty == !GnuTLS.knowsMLDSA)
        let question = Self.question(.ecdsaSecp256r1SHA256)
        try signer.permit()
        #expect(try isGood(try signer.connect().ask(question), of: question, by: "ecdsa"))
        let alone = try #require(try signer.load([(.privateKey, .file, "mldsa.key")], generation: 2))
        #expect(
            alone.problem.contains("has no signatures for this type of key; use an ECDSA") == !GnuTLS
                .knowsMLDSA)
    }

    @Test("it ends with status 0 when the broker goes, and with 70 after anything that the protocol does not permit")
    func ends() throws {
        let violations: [(SignerUnderTest) throws -> Void] = [
            { try $0.send(raw: [99]) }, { try $0.send(.ping) },
            { signer in
                try signer.setUp()
                try signer.send(.setUp(.files, libraryLogLevel: 0, memoryLimit: .max))
            },
            { signer in
                try signer.setUp()
                try signer.send(.connect(worker: 1))
            },
            { signer in
                try signer.setUp()
                try signer.send(.ping, descriptors: [2])
            },
        ]
        for violation in violations {
            let signer = try SignerUnderTest()
            try violation(signer)
            #expect(try signer.end() == .exited(status: 70))
        }
        let signer = try SignerUnderTest()
        try signer.setUp()
        try signer.send(.ping)
        #expect(try signer.next() == .alive)
        try signer.closeChannel()
        #expect(try signer.end() == .exited(status: 0))
    }

    @Test(
        "it has no capability, no new privileges, a filter of system calls, and another user where we are root",
        arguments: SignerKind.allCases)
    func confined(kind: SignerKind) throws {
        let signer = try SignerUnderTest()
        try signer.setUp(kind)
        let text = try String(contentsOfFile: "/proc/\(signer.identifier)/status", encoding: .utf8)
        var status: [Substring: Substring] = [:]
        for line in text.split(separator: "\n") {
            let parts = line.split(separator: ":", maxSplits: 1)
            if parts.count == 2 { status[parts[0]] = parts[1].drop { $0 == "\t" || $0 == " " } }
        }
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] { #expect(status[Substring(set)] == "0000000000000000") }
        #expect(status["NoNewPrivs"] == "1")
        #expect(status["Seccomp"] == "2")
        if getuid() == 0 {
            #expect(status["Uid"]?.split(separator: "\t").contains("0") == false)
            #expect(status["CapBnd"] == "0000000000000000")
        }
        let limits = try String(contentsOfFile: "/proc/\(signer.identifier)/limits", encoding: .utf8)
        #expect(limits.contains(/Max core file size +0 +0/))
    }
}

/// What a worker asks without a permit.
struct Offence: CustomTestStringConvertible, Sendable {
    let testDescription: String
    let question: SigningQuestion
    /// The permit is used before.
    var isRepeated = false
    var isForgotten = false
    var permit: @Sendable (SignerUnderTest) throws -> Void = { try $0.permit() }

    private static func signs(
        job: UInt64 = 1, role: Role = .server, key: KeyReference = SignerProcessTests.reference
    ) -> SigningQuestion {
        SignerProcessTests.question(.ecdsaSecp256r1SHA256, job: job, role: role, key: key)
    }
    private static let otherProfile = CredentialsOwner(ProfileNumber(1), .server)
    private static let brings: @Sendable (SignerUnderTest) throws -> Void = {
        try $0.permit(key: Fixtures.shared.der("ecdsa.key"))
    }

    static let all: [Offence] = [
        Offence(testDescription: "no permit at all", question: signs(), permit: { _ in }),
        Offence(testDescription: "another handshake", question: signs(job: 2)),
        Offence(testDescription: "another worker's handshake", question: signs(), permit: { try $0.permit(worker: 2) }),
        Offence(
            testDescription: "another profile's key", question: signs(), permit: { try $0.permit(1, otherProfile) }),
        Offence(
            testDescription: "another role's key", question: signs(),
            permit: { try $0.permit(1, CredentialsOwner(.standard, .client)) }),
        Offence(testDescription: "twice", question: signs(), isRepeated: true),
        Offence(testDescription: "after the end", question: signs(), isForgotten: true),
        Offence(testDescription: "a request's key where there is none", question: signs(key: .ofRequest)),
        Offence(testDescription: "the role's key where the request has one", question: signs(), permit: brings),
        Offence(
            testDescription: "a request's key in another role", question: signs(role: .client, key: .ofRequest),
            permit: brings),
        Offence(testDescription: "a description of a role's key", question: .describe(job: 1)),
        Offence(testDescription: "a description twice", question: .describe(job: 1), isRepeated: true, permit: brings),
    ]
}
