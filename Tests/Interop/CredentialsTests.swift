import Foundation
import Handshake
import System
import Testing
import Unconfined
import Wire

@testable import TLS
@testable import X509

@Suite("credentials") struct CredentialsTests {
    private let files = Fixtures.shared

    private func problem(_ role: Role, _ list: [(CredentialKind, String)]) -> String? {
        do {
            _ = try Engine.credentials(role, list)
            return nil
        } catch let error as TextError {
            return error.description
        } catch {
            Issue.record("\(error)")
            return nil
        }
    }

    @Test(
        "a trust store without a certificate is refused, never taken for the system's", arguments: ["empty", "rsa.key"])
    func emptyTrustStore(_ name: String) {
        if name == "empty" { files.write([], as: name) }
        #expect(
            problem(.client, [(.trustStore, name)])?.hasPrefix("trust store \(files.path(name)) holds no certificate;")
                == true)
    }

    @Test("a revocation list that is none is refused", arguments: ["nothing", "ca.pem"])
    func badRevocationList(_ name: String) {
        if name == "nothing" { files.write([], as: name) }
        let text = problem(.client, [(.trustStore, "ca.pem"), (.revocationList, name)])
        #expect(text?.hasPrefix("revocation list \(files.path(name)) cannot be used: ") == true)
    }

    @Test("a revocation list in the name of an authority that has not signed it is refused")
    func forgedRevocationList() throws {
        let lines = String(decoding: files.bytes("crl.pem"), as: UTF8.self).split(separator: "\n")
        let start = try #require(lines.firstIndex { $0.hasPrefix("-----BEGIN") })
        let end = try #require(lines.firstIndex { $0.hasPrefix("-----END") })
        var der = [UInt8](try #require(Data(base64Encoded: lines[(start + 1)..<end].joined())))
        // The end of the signature.
        der[der.count - 1] ^= 1
        let pem = "\(lines[start])\n\(Data(der).base64EncodedString())\n\(lines[end])\n"
        files.write(files.bytes("old-crl.pem") + Array(pem.utf8), as: "forged-crl.pem")
        let list = [(CredentialKind.trustStore, "ca.pem"), (.revocationList, "forged-crl.pem")]
        #expect(
            problem(.client, list)
                == TextError.unusable(
                    revocationList: files.path("forged-crl.pem"), "CN=ca of the trust store has not signed it"
                ).description)
        // What it must be signed by is not known here.
        #expect(problem(.client, [(.trustStore, "other-ca.pem"), (.revocationList, "forged-crl.pem")]) == nil)
        // An authority that was renewed under its name.
        files.join(["old-crl.pem", "crl.pem"], as: "both-crl.pem")
        #expect(problem(.client, [(.trustStore, "ca.pem"), (.revocationList, "both-crl.pem")]) == nil)
    }

    @Test("certificate and key must both be there, be readable, and belong together")
    func pairs() {
        let certificate = files.path("rsa.pem"), key = files.path("rsa.key"), other = files.path("ecdsa.key")
        let cases: [(Role, [(CredentialKind, String)], String)] = [
            (.server, [], "a server needs a certificate and a private key;"),
            (.client, [(.certificate, "rsa.pem")], "certificate \(certificate) is set without a private key;"),
            (.client, [(.privateKey, "rsa.key")], "private key \(key) is set without a certificate;"),
            (
                .server, [(.certificate, "rsa.pem"), (.privateKey, "ecdsa.key")],
                "no certificate in \(certificate) belongs to the private key \(other);"
            ),
            (
                .server, [(.certificate, "rsa.key"), (.privateKey, "rsa.key")],
                "certificate \(key) cannot be used: it holds no certificate in PEM;"
            ),
            (
                .server, [(.certificate, "rsa.pem"), (.privateKey, "rsa.pem")],
                "private key \(certificate) cannot be used: "
            ),
        ]
        for (role, list, text) in cases {
            let found = problem(role, [(.trustStore, "ca.pem")] + list) ?? "taken"
            #expect(found.hasPrefix(text), "\(found)")
        }
    }

    @Test("where a signer holds the keys, a private key that reaches us all the same is refused")
    func notOurs() throws {
        let listed = [(CredentialKind.trustStore, "ca.pem"), (.certificate, "rsa.pem"), (.privateKey, "rsa.key")]
            .map { CredentialFile(kind: $0.0, path: files.path($0.1)) }
        var loader = try CredentialsLoader(RoleCredentials(role: .client, generation: 1, files: listed)) { _ in
            .unreachable("not asked")
        }
        for file in listed.dropLast() { try loader.load(file, try SealedFile(copying: file.path).takeDescriptor()) }
        let key = try SealedFile(copying: listed[2].path).takeDescriptor()
        #expect(throws: TextError.self) { try loader.load(listed[2], key) }
    }

    @Test("the chain is put in order, leaf first, without the root, whatever the order in the file")
    func sorting() throws {
        let made = try Engine.credentials(
            .server, [(.trustStore, "ca.pem"), (.certificate, "long.pem"), (.privateKey, "long-leaf.key")])
        let chain = try #require(made.chains.first)
        #expect(chain.leaf.subject == "CN=long-leaf")
        #expect(unsafe chain.entries.count == 3)
        // The root is what is left over.
        #expect(chain.unused == 0)
        files.join(["ecdsa.pem", "rsa.pem"], as: "two.pem")
        let other = try Engine.credentials(
            .server, [(.trustStore, "ca.pem"), (.certificate, "two.pem"), (.privateKey, "rsa.key")])
        #expect(other.chains.first?.leaf.subject == "CN=rsa")
        #expect(other.chains.first?.unused == 1)
        #expect(other.summary.contains("1 other certificates in the file are not sent"))
    }

    @Test("what is in force is said, with a warning where something needs attention")
    func summaries() throws {
        let good = try Engine.credentials(
            .server,
            [
                (.trustStore, "ca.pem"), (.revocationList, "crl.pem"), (.certificate, "rsa.pem"),
                (.privateKey, "rsa.key"),
            ])
        #expect(!good.summary.contains("WARNING"))
        #expect(good.summary.contains("certificate CN=rsa of \(files.path("rsa.pem")) until 2060-01-01, chain of 1"))
        #expect(good.summary.contains("1 revocation list of \(files.path("crl.pem")), next update 2060-01-01"))
        let expired = try Engine.credentials(
            .client, [(.trustStore, "ca.pem"), (.certificate, "expired.pem"), (.privateKey, "expired.key")])
        #expect(
            expired.summary.hasPrefix(
                "WARNING: our certificate \(files.path("expired.pem")) (CN=expired) expired on 2021-11-02"))
        let outdated = try Engine.credentials(.client, [(.trustStore, "ca.pem"), (.revocationList, "old-crl.pem")])
        #expect(
            outdated.summary.hasPrefix(
                "WARNING: revocation list \(files.path("old-crl.pem")) expired on 2021-01-01"))
    }

    @Test("the same is told as facts: each certificate that is presented with its dates, authorities, revocation lists")
    func facts() throws {
        files.join(["ca.pem", "other-ca.pem"], as: "two-authorities.pem")
        let made = try Engine.credentials(
            .server,
            [
                (.trustStore, "two-authorities.pem"), (.revocationList, "crl.pem"), (.certificate, "long.pem"),
                (.privateKey, "long-leaf.key"),
            ])
        let end: Int64 = 2_840_140_800
        #expect(dateText(end) == "2060-01-01")
        #expect(made.facts.authorities == 2)
        #expect(made.facts.revocationLists == 1 && made.facts.nextUpdate == end)
        #expect(made.facts.certificates.allSatisfy { $0.kind == .certificate && $0.pair == 0 })
        let descriptions = made.facts.certificates.map(\.description)
        #expect(descriptions.allSatisfy { $0.notAfter == end })
        #expect(descriptions.map(\.subject) == ["CN=long-leaf", "CN=long-2", "CN=long-1"])
        #expect(descriptions.map(\.issuer) == ["CN=long-2", "CN=long-1", "CN=ca"])
        let none = try Engine.credentials(.client, [(.trustStore, "ca.pem")]).facts
        #expect(none.certificates.isEmpty && none.authorities == 1 && none.nextUpdate == nil)
    }

    private static let days: [(Int64, String)] = [
        (0, "1970-01-01"), (951_782_399, "2000-02-28"), (951_782_400, "2000-02-29"), (951_868_800, "2000-03-01"),
        (1_795_910_400, "2026-11-29"), (4_107_542_400, "2100-03-01"), (-1, "an unknown date"),
        (253_402_300_799, "no date"),
    ]

    @Test("dates are shown as days", arguments: days)
    func dates(_ seconds: Int64, _ text: String) {
        #expect(dateText(seconds) == text)
    }
}
