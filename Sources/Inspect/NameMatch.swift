internal import CGnuTLS
internal import Handshake
internal import TLS
internal import X509

/// Comparison of a host name with a certificate and with each of its names, by the same GnuTLS calls as in a handshake.
package struct NameMatch: Sendable, Equatable {
    /// A name of the certificate.
    package struct Candidate: Sendable, Equatable {
        /// The name, preceded by its type.
        package let name: String
        package let matches: Bool
        /// Reason why it matches or does not.
        package let reason: String
    }

    /// The wanted name, without brackets, zone or final dot.
    package let wanted: String
    package let isAddress: Bool
    package let matches: Bool
    package let candidates: [Candidate]
}

extension CertificateList {
    /// Compares the first certificate with a name or address as a kernel consumer would give it.
    package func match(_ host: String) -> NameMatch {
        let name = PeerName(host)
        let wanted = name.description
        let isAddress = name.serverName == nil
        guard let leaf = certificates.first else {
            return NameMatch(wanted: wanted, isAddress: isAddress, matches: false, candidates: [])
        }
        let names = leaf.alternativeNames
        var candidates = names.map { candidate(for: name, wanted, $0) }
        if let common = leaf.commonName {
            candidates.append(commonNameCandidate(common, name, wanted, leaf))
        }
        return NameMatch(
            wanted: wanted, isAddress: isAddress, matches: leaf.carries(name), candidates: candidates)
    }

    private func candidate(
        for name: PeerName, _ wanted: String, _ own: AlternativeName
    ) -> NameMatch.Candidate {
        let matches = Certificate.holding(own)?.carries(name) ?? false
        let reason =
            switch (own, name) {
            case _ where matches: "it is \(wanted)"
            case (.dns, .address): "\(wanted) is an address, which a DNS name never matches"
            case (.address, .dns): "\(wanted) is a name, and no DNS lookup is made"
            case (.dns(let text), .dns): Self.difference(text, wanted)
            case (.address, .address): "another address"
            case (.uri, _), (.email, _), (.other, _): "neither a DNS name nor an IP address"
            }
        return NameMatch.Candidate(name: own.description, matches: matches, reason: reason)
    }

    private func commonNameCandidate(
        _ common: String, _ name: PeerName, _ wanted: String, _ leaf: Certificate
    ) -> NameMatch.Candidate {
        let hasNames = leaf.hasAlternativeNames
        let matches = !hasNames && leaf.carries(name)
        let reason =
            matches
            ? "it is \(wanted), and is used because there is no subjectAltName; other implementations ignore it"
            : hasNames ? "the common name is ignored if there is a subjectAltName" : "it is not \(wanted)"
        return NameMatch.Candidate(name: "CN \(common)", matches: matches, reason: reason)
    }

    /// Reason why a DNS name is not the wanted one.
    private static func difference(_ own: String, _ wanted: String) -> String {
        guard own.contains("*") else { return "another name" }
        guard own.hasPrefix("*."), !own.dropFirst().contains("*") else {
            return "a wildcard is valid only as the whole first label"
        }
        let rest = own.dropFirst(2).lowercased()
        let isBelow = wanted.lowercased().hasSuffix("." + rest)
        if wanted.lowercased() == rest {
            return "a wildcard stands for one label, and \(wanted) has none before \(rest)"
        }
        if isBelow, !rest.contains(".") { return "a wildcard needs at least two labels after it" }
        return isBelow ? "a wildcard stands for one label only" : "another domain"
    }
}

extension Certificate {
    var commonName: String? {
        var text = [CChar](repeating: 0, count: 256)
        var count = text.count
        // X.520's id-at-commonName.
        guard unsafe gnutls_x509_crt_get_dn_by_oid(handle, "2.5.4.3", 0, 0, &text, &count) >= 0 else { return nil }
        return String(decoding: text.prefix(count).prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// A certificate with this name only, signed by a key that is discarded; `nil` for types that never match.
    fileprivate static func holding(_ name: AlternativeName) -> Certificate? {
        let kind: gnutls_x509_subject_alt_name_t
        let value: [UInt8]
        switch name {
        case .dns(let text): (kind, value) = (GNUTLS_SAN_DNSNAME, Array(text.utf8))
        case .address(let address): (kind, value) = (GNUTLS_SAN_IPADDRESS, address.bytes)
        case .uri, .email, .other: return nil
        }
        var made: OpaquePointer?
        guard unsafe gnutls_x509_crt_init(&made) >= 0, let made = unsafe made else { return nil }
        let draft = unsafe Certificate(adopting: made)
        let flags = UInt32(GNUTLS_FSAN_SET)
        guard unsafe gnutls_x509_crt_set_subject_alt_name(made, kind, value, UInt32(value.count), flags) >= 0,
            let bytes = draft.signedByItself()
        else { return nil }
        // GnuTLS compares names only in certificates that it has parsed.
        return try? Certificate(der: bytes)
    }

    /// The DER of a draft, completed and signed by a new key.
    private func signedByItself() -> [UInt8]? {
        var key: OpaquePointer?
        guard unsafe gnutls_x509_privkey_init(&key) >= 0 else { return nil }
        defer { unsafe gnutls_x509_privkey_deinit(key) }
        let name = "CN=comparison"
        let isDone =
            unsafe gnutls_x509_privkey_generate(key, GNUTLS_PK_ECDSA, 256, 0) >= 0
            && gnutls_x509_crt_set_version(handle, 3) >= 0 && gnutls_x509_crt_set_serial(handle, [1], 1) >= 0
            && gnutls_x509_crt_set_activation_time(handle, 0) >= 0
            && gnutls_x509_crt_set_expiration_time(handle, 1) >= 0
            && gnutls_x509_crt_set_dn(handle, name, nil) >= 0 && gnutls_x509_crt_set_issuer_dn(handle, name, nil) >= 0
            && gnutls_x509_crt_set_key(handle, key) >= 0
            && gnutls_x509_crt_sign2(handle, handle, key, GNUTLS_DIG_SHA256, 0) >= 0
        guard isDone else { return nil }
        var datum = unsafe gnutls_datum_t()
        guard unsafe gnutls_x509_crt_export2(handle, GNUTLS_X509_FMT_DER, &datum) >= 0 else { return nil }
        defer { unsafe cgnutls_free(datum.data) }
        return unsafe Array(UnsafeBufferPointer(start: datum.data, count: Int(datum.size)))
    }
}
