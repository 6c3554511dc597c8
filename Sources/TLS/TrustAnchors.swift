internal import CGnuTLS
package import Handshake
package import X509

/// The authorities of a trust store by name. They are kept as DER, because a parsed certificate takes about 20 kB and a
/// system's store has more than a hundred.
package final class TrustAnchors {
    private var encoded: [[UInt8]: [[UInt8]]] = [:]
    /// Their subjects and keys.
    private var known: Set<Identity> = []
    /// Authorities with an RSA key that is refused or warned about.
    private(set) var small: [Certificate] = []

    private struct Identity: Hashable {
        let subject: [UInt8]
        let key: [UInt8]

        init(_ certificate: Certificate) {
            subject = certificate.rawSubject
            key = certificate.keyIdentifier
        }
    }

    /// Reads the authorities of a trust store.
    init(of credentials: gnutls_certificate_credentials_t, _ rules: PeerRules) {
        var list: gnutls_x509_trust_list_t?
        // The list belongs to the credentials; the certificates are copies that we own.
        unsafe gnutls_certificate_get_trust_list(credentials, &list)
        var place: gnutls_x509_trust_list_iter_t?
        var handle: OpaquePointer?
        while unsafe gnutls_x509_trust_list_iter_get_ca(list, &place, &handle) >= 0 {
            guard let owned = unsafe handle else { break }
            let authority = unsafe Certificate(adopting: owned)
            encoded[authority.rawSubject, default: []].append(authority.encoded)
            known.insert(Identity(authority))
            if authority.hasSmallKey(rules) { small.append(authority) }
        }
        unsafe gnutls_x509_trust_list_iter_deinit(place)
    }

    /// Authorities with this subject (DER), whatever their keys; eight at most.
    func named(_ name: [UInt8]) -> [Certificate] {
        (encoded[name] ?? []).prefix(ChainCandidate.most).compactMap { try? Certificate(der: $0) }
    }

    /// Possible issuers of a certificate, by name and key identifiers. The certificate itself is excluded.
    func issuers(of certificate: Certificate) -> [Certificate] {
        named(certificate.rawIssuer).filter { certificate.isIssued(by: $0) && $0.encoded != certificate.encoded }
    }

    func contains(_ certificate: Certificate) -> Bool {
        encoded[certificate.rawSubject]?.contains(certificate.encoded) ?? false
    }

    /// Returns `true` if the trust store has an authority with this name and key. GnuTLS then checks neither this
    /// certificate nor those above it.
    private func knows(_ certificate: Certificate) -> Bool { known.contains(Identity(certificate)) }

    /// GnuTLS refuses longer chains.
    private static let longestChain = 16

    /// The certificates of a presented chain that can take part in its verification: the leaf, then each one's issuers
    /// up to the trust store. GnuTLS does not tell which of several issuers with one name it chooses, so all of them
    /// are included.
    private func participants(in chain: [Certificate]) -> [Certificate] {
        guard let leaf = chain.first, !knows(leaf) else { return Array(chain.prefix(1)) }
        var rest = chain.prefix(Self.longestChain).dropFirst()
        var found = [leaf]
        var index = 0
        while index < found.count {
            let issued = found[index]
            found += rest.filter { issued.isIssued(by: $0) && !knows($0) }
            rest.removeAll { issued.isIssued(by: $0) }
            index += 1
        }
        return found
    }

    /// Number of authorities that a warning names.
    private static let mostNamed = 3

    /// Warnings about the trust store when it is loaded.
    func warnings(_ rules: PeerRules) -> [String] {
        let named = small.prefix(Self.mostNamed).map { authority in
            let consequence = authority.isRefused(rules) ? "its peers are refused" : "less than \(PeerRules.soundRSA)"
            return "in the trust store \(authority.keySizeText): \(consequence)"
        }
        let others = small.count - named.count
        return others > 0 ? named + ["\(others) more authorities of it have such keys"] : named
    }

    /// Checks the extended key usages of a chain by the standard rule, which `enforce` includes.
    ///
    /// - Parameter peer: role of the owner of the chain.
    func judgePurposes(
        of chain: [Certificate], as peer: Role, by rules: PeerRules
    ) throws(HandshakeFailure) {
        guard [.standard, .enforce].contains(rules.purpose),
            chain.contains(where: { $0.missingPurpose(for: peer) != nil })
        else { return }
        for certificate in participants(in: chain) {
            guard let lack = certificate.missingPurpose(for: peer) else { continue }
            throw HandshakeFailure(.certificatePurposeMismatch, lack)
        }
    }

    /// Checks that name constraints permit the IPv4 addresses of the leaf. GnuTLS treats an IPv4-mapped IPv6 address as
    /// IPv6, which IPv4 constraints do not cover. GnuTLS does not tell which authorities took part in the verification,
    /// so all of them are checked.
    package func judgeConstraints(of chain: [Certificate]) throws(HandshakeFailure) {
        guard let leaf = chain.first else { return }
        let addresses = leaf.alternativeNames.compactMap { (name) -> NetworkAddress? in
            guard case .address(let address) = name, address.isIPv4 else { return nil }
            return address
        }
        guard !addresses.isEmpty else { return }
        for authority in chain.dropFirst() + chain.flatMap(issuers) {
            guard let address = addresses.first(where: { !authority.mayVouch(for: $0) }) else { continue }
            throw HandshakeFailure(
                .certificateInvalid,
                "\(leaf.subject) carries \(address), which the name constraints of \(authority.subject) do not allow")
        }
    }

    /// Checks the sizes of RSA keys in a chain, and of the authority that it ends at.
    ///
    /// - Returns: Remarks for the log line of an accepted peer.
    package func judgeKeys(of chain: [Certificate], by rules: PeerRules) throws(HandshakeFailure) -> [String] {
        guard !small.isEmpty || chain.contains(where: { $0.hasSmallKey(rules) }) else { return [] }
        let members = participants(in: chain)
        var smallOnes = members.filter { $0.hasSmallKey(rules) }
        for authority in small where members.contains(where: { $0.isIssued(by: authority) }) {
            if !smallOnes.contains(where: { Identity($0) == Identity(authority) }) { smallOnes.append(authority) }
        }
        if let refused = smallOnes.first(where: { $0.isRefused(rules) }) {
            throw HandshakeFailure(
                .certificateInsecureAlgorithm,
                "\(refused.keySizeText), and x509.rsa.minimum is \(rules.leastRSABits)")
        }
        return smallOnes.map { "\($0.keySizeText), less than \(PeerRules.soundRSA)" }
    }
}

extension Certificate {
    /// Subject, DER.
    var rawSubject: [UInt8] { unsafe [UInt8](fetching: { unsafe gnutls_x509_crt_get_raw_dn(handle, &$0) }) }
    /// Issuer, DER.
    var rawIssuer: [UInt8] { unsafe [UInt8](fetching: { unsafe gnutls_x509_crt_get_raw_issuer_dn(handle, &$0) }) }
    /// DER.
    var encoded: [UInt8] {
        unsafe [UInt8](fetching: { unsafe gnutls_x509_crt_export2(handle, GNUTLS_X509_FMT_DER, &$0) })
    }

    /// Validity period, both ends included (RFC 5280 §4.1.2.5). If a date cannot be read, it is one second in 1970.
    var validity: ClosedRange<Int64> {
        let start = notBefore, end = notAfter
        return start >= 0 && end >= start ? start...end : 0...0
    }

    /// Reason why its extended key usages do not allow a role; `nil` if they do.
    package func missingPurpose(for role: Role) -> String? {
        guard let purposes, !Purpose.allow(purposes, role) else { return nil }
        let names = purposes.isEmpty ? "nothing that can be read" : purposes.map(Purpose.name).joined(separator: ", ")
        return "\(subject) is for \(names), not for a \(role)"
    }

    /// Returns `true` if its RSA key is so small that it is refused or warned about.
    package func hasSmallKey(_ rules: PeerRules) -> Bool {
        rsaBits.map { $0 < max(Int(rules.leastRSABits), Int(PeerRules.soundRSA)) } ?? false
    }

    /// Returns `true` if its RSA key is too small to be accepted.
    package func isRefused(_ rules: PeerRules) -> Bool { rsaBits.map { $0 < Int(rules.leastRSABits) } ?? false }

    /// Such as `CN=a has an RSA key of 1024 bits`.
    package var keySizeText: String { "\(subject) has an RSA key of \(rsaBits ?? 0) bits" }
}
