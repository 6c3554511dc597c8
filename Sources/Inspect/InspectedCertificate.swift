internal import CGnuTLS
package import Handshake
internal import SigningWire
package import System
internal import TLS
internal import X509

/// Fields of a certificate, for display.
package struct InspectedCertificate: Sendable, Equatable {
    /// RFC 4514 text.
    package let subject: String
    /// RFC 4514 text.
    package let issuer: String
    /// Hexadecimal digits.
    package let serial: String
    /// Seconds since 1970-01-01T00:00:00Z.
    package let notBefore: Int64
    /// Seconds since 1970-01-01T00:00:00Z; negative if it cannot be read.
    package let notAfter: Int64
    /// With their type, such as `DNS nfs1.example`.
    package let names: [String]
    /// Such as `EC/ECDSA, 256 bits`.
    package let key: String
    /// Such as `ECDSA-SHA256`; `nil` if GnuTLS does not know it.
    package let signature: String?
    /// Extended key usages by name, or as numbers; empty if the extension is absent and every purpose is allowed.
    package let purposes: [String]
    package let isAuthority: Bool
    /// True if its subject is its issuer.
    package let isSelfIssued: Bool
    /// True if it has a DNS name or an IP address that a client can compare.
    package let namesHost: Bool
    /// Curve of its key if TLS 1.3 does not have it, such as `secp224r1`.
    package let foreignCurve: String?
    /// True if there is no subjectAltName, so that some implementations compare the common name.
    package let hasOnlyCommonName: Bool
    /// SHA-256, hexadecimal digits.
    package let fingerprint: String

    init(_ certificate: Certificate) {
        let facts = certificate.facts
        subject = certificate.subject
        issuer = certificate.issuer
        serial = facts.serialNumber.hexadecimal
        notBefore = certificate.notBefore
        notAfter = certificate.notAfter
        names = facts.names.map(\.description)
        key = certificate.keyText
        signature = facts.signatureAlgorithm.isEmpty ? nil : facts.signatureAlgorithm
        purposes = (facts.purposes ?? []).map(Purpose.name)
        isAuthority = certificate.isAuthority
        isSelfIssued = certificate.isSelfIssued
        namesHost = facts.names.contains { name in
            switch name {
            case .dns, .address: true
            case .uri, .email, .other: false
            }
        }
        foreignCurve = certificate.foreignCurve
        hasOnlyCommonName = !certificate.hasAlternativeNames && certificate.commonName != nil
        fingerprint = facts.sha256.hexadecimal
    }
}

/// Certificates of a file or of a peer, for inspection only. One thread.
package final class CertificateList {
    /// In their original order.
    let certificates: [Certificate]

    init(_ certificates: [Certificate]) {
        self.certificates = certificates
    }

    /// Reads the PEM certificates of a file.
    ///
    /// - Throws: An error if the file cannot be read or contains none.
    package convenience init(file: borrowing OwnedDescriptor, path: String) throws(TextError) {
        let contents = try TextError.of("\(path) cannot be read", try SealedContents(of: file))
        do throws(TextError) {
            self.init(
                try unsafe contents.withUnsafeBytes { (bytes) throws(TextError) in
                    try unsafe Certificate.list(of: PEMFile(bytes))
                })
        } catch {
            throw .unusable(certificate: path, error.description)
        }
    }

    package var facts: [InspectedCertificate] { certificates.map(InspectedCertificate.init) }

    /// The first certificate, then each one's issuer as far as they are in the list: the chain that the daemon would
    /// send if its key belonged to the first.
    var sorted: [Certificate] {
        guard let leaf = certificates.first else { return [] }
        var rest = certificates.dropFirst()
        var chain = [leaf]
        while let last = chain.last, !last.isSelfIssued, let next = rest.firstIndex(where: { last.isIssued(by: $0) }) {
            chain.append(rest.remove(at: next))
        }
        return chain
    }

    /// Problem with the extended key usages of the first certificate and its intermediates for a role (RFC 5280
    /// §4.2.1.12, RFC 9289 §4.2). `nil` if the role is allowed; without the extension every role is.
    package func purposeProblem(as role: Role) -> HandshakeFailure? {
        guard let leaf = certificates.first else { return HandshakeFailure(.certificateMissing) }
        return ([leaf] + sorted.dropFirst().filter { !$0.isSelfIssued }).lazy.compactMap {
            $0.missingPurpose(for: role)
        }
        .first.map { HandshakeFailure(.certificatePurposeMismatch, $0) }
    }

    /// Reason why the key of the first certificate may not sign handshakes, with its remedy.
    package var signingProblem: (text: String, remedy: String)? { certificates.first?.signingProblem }

    /// Reason why peers may refuse the first certificate from tlshd, which staples nothing, with its remedy.
    package var staplingProblem: (text: String, remedy: String)? { certificates.first?.staplingProblem }

    /// Small RSA keys in the first certificate's chain, and whether the rules refuse them.
    package func smallKeys(by rules: PeerRules) -> [(text: String, isRefused: Bool)] {
        sorted.filter { $0.hasSmallKey(rules) }.map { ($0.keySizeText, $0.isRefused(rules)) }
    }

    /// Applies rules to the first certificate as that of a peer. Returns remarks if the rules accept it.
    ///
    /// - Throws: The reason if the rules refuse it.
    package func judge(by rules: PeerRules, as peer: Role) throws(HandshakeFailure) -> [String] {
        guard let leaf = certificates.first else { throw HandshakeFailure(.certificateMissing) }
        return try rules.judge(leaf.facts, of: peer)
    }
}

extension Certificate {
    fileprivate var keyText: String {
        var bits: UInt32 = 0
        let algorithm = unsafe gnutls_x509_crt_get_pk_algorithm(handle, &bits)
        let number = gnutls_pk_algorithm_t(UInt32(bitPattern: algorithm))
        // A string constant of the library.
        let name = unsafe gnutls_pk_get_name(number).map { unsafe String(cString: $0) } ?? "unknown"
        // GnuTLS gives the length of a coordinate in whole bytes.
        return "\(name), \(number == GNUTLS_PK_ECDSA && bits == 528 ? 521 : bits) bits"
    }

    fileprivate var foreignCurve: String? {
        var datum = unsafe gnutls_datum_t()
        guard unsafe gnutls_x509_crt_export2(handle, GNUTLS_X509_FMT_DER, &datum) >= 0 else { return nil }
        return EllipticCurve.foreign(in: unsafe Array(taking: datum).span)
    }

    fileprivate var isAuthority: Bool {
        var authority: UInt32 = 0
        return unsafe gnutls_x509_crt_get_basic_constraints(handle, nil, &authority, nil) >= 0 && authority != 0
    }
}

extension Sequence<UInt8> {
    /// Two hexadecimal digits for each byte.
    var hexadecimal: String {
        map { byte in (byte < 16 ? "0" : "") + String(byte, radix: 16) }.joined()
    }
}
