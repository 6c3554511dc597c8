import CGnuTLS
import Foundation
import Glibc
import Handshake
import SigningWire
import System
import TestSupport
import Testing
import Unconfined
import Wire

@testable import TLS

/// Keys on real tokens, through the real signer process.
@Suite("keys on tokens", .serialized) struct TokenTests {
    private static func url(_ text: String, hasPIN: Bool = true) -> SignerPart.Source { .url(text, hasPIN: hasPIN) }

    /// Runs a server with the signer's key against a client that checks it.
    private func shake(_ signer: SignerUnderTest, _ verdict: SignerVerdict, certificate: [UInt8], gnutls: Bool) throws {
        let conversation = try signer.connect()
        try signer.permit()
        let key = try #require(verdict.parts.last)
        let listed = [(CredentialKind.trustStore, "ca.pem"), (.certificate, "own"), (.privateKey, "token")]
            .map { CredentialFile(kind: $0.0, path: $0.1) }
        _ = Engine.isStarted
        var loader = try CredentialsLoader(
            RoleCredentials(role: .server, generation: 1, files: listed), signer: conversation.call)
        for (file, bytes) in zip(listed, [Fixtures.shared.bytes("ca.pem"), certificate, key]) {
            try loader.load(file, try SealedFile.make(named: "test", holding: bytes))
        }
        var plan = Engine.Plan()
        plan.role = .server
        plan.authentication = .x509
        plan.peerName = nil
        let (program, socket) = try gnutls ? Peers.gnutlsClient([]) : Peers.opensslClient()
        let engine = try Engine(plan, on: socket, sharing: try loader.finish())
        #expect(engine.success() != nil, "\(program.text)")
        engine.checkDataBothWays(with: program)
        #expect(conversation.count == 1)
    }

    @Test(
        "an RSA and an ECDSA key of a SoftHSM2 token, with their certificates on it, serve OpenSSL and GnuTLS clients",
        arguments: ["rsa", "ecdsa"], [false, true])
    func softHSM(name: String, gnutls: Bool) throws {
        let token = try Token(.softHSM)
        try token.importPair(name, id: "01")
        let signer = try SignerUnderTest(environment: token.environment)
        try signer.setUp(.tokens)
        let verdict = try #require(
            try signer.load([
                (.certificate, Self.url("pkcs11:token=test;object=\(name);type=cert", hasPIN: false), nil),
                (.privateKey, Self.url("pkcs11:token=test;object=\(name);type=private"), try token.pinFile()),
            ]))
        #expect(verdict.problem == "")
        let certificate = try #require(verdict.parts.first)
        try shake(signer, verdict, certificate: certificate, gnutls: gnutls)
    }

    @Test(
        "a key that was made in a TPM and never leaves it serves OpenSSL and GnuTLS clients",
        arguments: [["ecdsa", "--curve", "secp256r1"], ["rsa", "--bits", "2048"]], [false, true])
    func tpm(type: [String], gnutls: Bool) throws {
        let token = try Token(.tpm)
        let certificate = try token.generate("key", type)
        let signer = try SignerUnderTest(environment: token.environment)
        try signer.setUp(.tokens)
        let verdict = try #require(
            try signer.load([
                (.privateKey, Self.url("pkcs11:token=test;object=key;type=private"), try token.pinFile())
            ]))
        #expect(verdict.problem == "")
        let bytes = [UInt8](try Data(contentsOf: URL(filePath: certificate)))
        try shake(signer, verdict, certificate: bytes, gnutls: gnutls)
    }

    @Test("one login for many handshakes and for both keys of a token, by the calls that the module sees")
    func oneLogin() throws {
        try #require(getuid() == 0, "it needs a mount namespace of its own: run as root")
        let token = try Token(.softHSM)
        try token.importPair("rsa", id: "01")
        try token.importPair("ecdsa", id: "02")
        let modules = token.folder + "/modules", calls = token.folder + "/calls"
        try FileManager.default.createDirectory(atPath: modules, withIntermediateDirectories: true)
        try "module: /usr/lib/softhsm/libsofthsm2.so\nlog-calls: yes\n".write(
            toFile: modules + "/softhsm2.module", atomically: true, encoding: .utf8)
        try token.run("chmod", "-R", "a+rX", modules)
        // p11-kit writes every call of the module to stderr.
        let signer = try SignerUnderTest(
            environment: token.environment,
            wrapper: """
                exec unshare -m sh -c 'mount --bind \(modules) /usr/share/p11-kit/modules && exec "$SIGNER" 2>\(calls)'
                """)
        try signer.setUp(.tokens)
        let pin = try token.pinFile()
        for (generation, name) in [(UInt32(1), "rsa"), (2, "ecdsa")] {
            let verdict = try #require(
                try signer.load(
                    [(.privateKey, Self.url("pkcs11:token=test;object=\(name);type=private"), pin)],
                    generation: generation))
            #expect(verdict.problem == "")
        }
        let workers = [try signer.connect(1), try signer.connect(2)]
        let second = KeyReference(CredentialsOwner(.standard, .server), generation: 2, kind: .privateKey, pair: 0)
        for round in 0..<50 {
            let question =
                round % 2 == 0
                ? SignerProcessTests.question(.rsaPSSRSAESHA256)
                : SignerProcessTests.question(.ecdsaSecp256r1SHA256, key: second)
            try signer.permit(worker: UInt32(round / 2 % 2 + 1))
            guard case .signature? = try workers[round / 2 % 2].ask(question) else {
                Issue.record("no signature in round \(round)")
                return
            }
        }
        let seen = try String(contentsOfFile: calls, encoding: .utf8).split(separator: "\n")
        #expect(seen.filter { $0.contains("C_Login") && !$0.contains("=") }.count == 1)
        #expect(seen.filter { $0.contains("C_Sign") && !$0.contains("C_SignInit") && !$0.contains("=") }.count >= 50)
    }

    @Test("a wrong PIN is tried once and said; without one the setting is named; a token that is not there may come")
    func refusals() throws {
        let token = try Token(.softHSM)
        try token.importPair("ecdsa", id: "01")
        let signer = try SignerUnderTest(environment: token.environment)
        try signer.setUp(.tokens)
        let key = "pkcs11:token=test;object=ecdsa;type=private"
        let wrong = try #require(try signer.load([(.privateKey, Self.url(key), try token.pinFile("9999"))]))
        #expect(wrong.problem.contains("refuses the PIN; correct the file that pin-source names"))
        #expect(!wrong.isPassing)
        let without = try #require(try signer.load([(.privateKey, Self.url(key, hasPIN: false), nil)]))
        #expect(without.problem.contains("asks for a PIN") && without.problem.contains("pin-source"))
        #expect(!without.isPassing)
        let pin = try token.pinFile()
        let absent = try #require(
            try signer.load([(.privateKey, Self.url("pkcs11:token=elsewhere;object=ecdsa;type=private"), pin)]))
        #expect(absent.problem.contains("no token that is there holds it"), "\(absent.problem)")
        #expect(absent.isPassing)
        let missing = try #require(
            try signer.load([(.certificate, Self.url("pkcs11:token=test;object=none;type=cert"), pin)]))
        #expect(missing.problem.hasPrefix("certificate pkcs11:… cannot be used"))
        let value = try #require(
            try signer.load([(.privateKey, Self.url(key + "?pin-value=1234", hasPIN: false), nil)]))
        #expect(value.problem == "")
        for verdict in [wrong, without, absent, missing] { #expect(!verdict.problem.contains("1234")) }
        let good = try #require(try signer.load([(.privateKey, Self.url(key), pin)]))
        #expect(good.problem == "")
    }

    @Test("a certificate that does not belong to the token's key is an error that names both")
    func mismatch() throws {
        let token = try Token(.softHSM)
        try token.importPair("ecdsa", id: "01")
        let signer = try SignerUnderTest(environment: token.environment)
        try signer.setUp(.tokens)
        let verdict = try #require(
            try signer.load([
                (.privateKey, Self.url("pkcs11:token=test;object=ecdsa;type=private"), try token.pinFile())
            ]))
        let problem = #expect(throws: TextError.self) {
            try shake(signer, verdict, certificate: Fixtures.shared.bytes("rsa.pem"), gnutls: false)
        }
        #expect(problem?.description.hasPrefix("no certificate in own belongs to the private key token;") == true)
    }

    @Test("a signer for keys in files cannot open a token")
    func shutOff() throws {
        let token = try Token(.softHSM)
        try token.importPair("ecdsa", id: "01")
        let signer = try SignerUnderTest(environment: token.environment)
        try signer.setUp(.files)
        let pin = try token.pinFile()
        let parts = [
            (CredentialKind.privateKey, Self.url("pkcs11:token=test;object=ecdsa;type=private"), Optional(pin))
        ]
        #expect(try signer.load(parts) == nil)
        #expect(try signer.end() == .killed(signal: SIGSYS))
    }
}
