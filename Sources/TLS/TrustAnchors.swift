internal import Handshake

/// The authorities of a trust store, as far as a chain that ends at one of them is asked for more than its signatures.
struct TrustAnchors {
    /// Their subjects and keys.
    private let known: Set<Identity>
    /// Those with an RSA key that is refused or told.
    let small: [Certificate]

    private struct Identity: Hashable {
        let subject: String
        let key: [UInt8]

        init(_ certificate: Certificate) {
            subject = certificate.subject
            key = certificate.keyIdentifier
        }
    }

    init(_ authorities: [Certificate], _ rules: PeerRules) {
        known = Set(authorities.map(Identity.init))
        small = authorities.filter { $0.hasSmallKey(rules) }
    }

    /// The library refuses a chain of more certificates.
    private static let longestChain = 16

    /// Whether the trust store has an authority of this name and key: the library asks no more of such a certificate,
    /// and nothing of those above it.
    private func contains(_ certificate: Certificate) -> Bool { known.contains(Identity(certificate)) }

    /// The certificates of a presented chain that can take part in its verification: the peer's own, then each one's
    /// issuers up to the trust store. Which of several issuers with one name the library chooses is not known, so that
    /// all of them count.
    private func participants(in chain: [Certificate]) -> [Certificate] {
        guard let leaf = chain.first, !contains(leaf) else { return Array(chain.prefix(1)) }
        var rest = chain.prefix(Self.longestChain).dropFirst()
        var found = [leaf]
        var index = 0
        while index < found.count {
            let issued = found[index]
            found += rest.filter { issued.isIssued(by: $0) && !contains($0) }
            rest.removeAll { issued.isIssued(by: $0) }
            index += 1
        }
        return found
    }

    /// Authorities that a warning names.
    private static let mostNamed = 3

    /// What the daemon says of its trust store when it is loaded.
    func warnings(_ rules: PeerRules) -> [String] {
        let named = small.prefix(Self.mostNamed).map { authority in
            let consequence = authority.isRefused(rules) ? "no peer of it passes" : "less than \(PeerRules.soundRSA)"
            return "in the trust store \(authority.keySizeText): \(consequence)"
        }
        let others = small.count - named.count
        return others > 0 ? named + ["\(others) more authorities of it have such keys"] : named
    }

    /// Judges the extended key usages of a chain, where the standard rule is asked for.
    ///
    /// - Parameter peer: the part that the chain's owner plays.
    func judgePurposes(
        of chain: [Certificate], as peer: Role, by rules: PeerRules
    ) throws(HandshakeFailure) {
        guard rules.purpose == .standard, chain.contains(where: { $0.lackOfPurpose(for: peer) != nil }) else { return }
        for certificate in participants(in: chain) {
            guard let lack = certificate.lackOfPurpose(for: peer) else { continue }
            throw HandshakeFailure(.certificatePurposeMismatch, lack)
        }
    }

    /// Judges the sizes of RSA keys in a chain, and of the authority that it ends at.
    ///
    /// - Returns: what is to be said in the log line though it is let in.
    func judgeKeys(of chain: [Certificate], by rules: PeerRules) throws(HandshakeFailure) -> [String] {
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
    /// Why its extended key usages do not allow it to serve a role; `nil` where they do.
    func lackOfPurpose(for role: Role) -> String? {
        guard let purposes, !Purpose.allow(purposes, role) else { return nil }
        let names = purposes.isEmpty ? "nothing that can be read" : purposes.map(Purpose.name).joined(separator: ", ")
        return "\(subject) is for \(names), not for a \(role)"
    }

    /// Whether its RSA key is so small that it is refused or told.
    func hasSmallKey(_ rules: PeerRules) -> Bool {
        rsaBits.map { $0 < max(Int(rules.leastRSABits), Int(PeerRules.soundRSA)) } ?? false
    }

    /// Whether its RSA key is too small to be taken.
    func isRefused(_ rules: PeerRules) -> Bool { rsaBits.map { $0 < Int(rules.leastRSABits) } ?? false }

    /// `CN=a has an RSA key of 1024 bits`.
    var keySizeText: String { "\(subject) has an RSA key of \(rsaBits ?? 0) bits" }
}

extension Credentials {
    /// What is to be said of the RSA keys in our own chains, though they are presented.
    package var smallKeys: [String] {
        chains.flatMap(\.certificates).filter { $0.hasSmallKey(rules) }.map { "our own certificate \($0.keySizeText)" }
    }

    /// What is to be said of the RSA keys in a peer's chain, though it is let in.
    package func remarks(on list: CertificateList) -> [String] {
        let chain = verifiesByPin ? Array(list.certificates.prefix(1)) : list.certificates
        return (try? anchors.judgeKeys(of: chain, by: rules)) ?? []
    }
}
