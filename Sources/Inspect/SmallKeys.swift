package import TLS

extension Credentials {
    /// Remarks on small RSA keys in our own chains that are presented nevertheless.
    package var smallKeys: [String] {
        chains.flatMap(\.certificates).filter { $0.hasSmallKey(rules) }.map { "our own certificate \($0.keySizeText)" }
    }

    /// Remarks on small RSA keys in the chain of an accepted peer.
    package func remarks(on list: CertificateList) -> [String] {
        let chain = verifiesByPin ? Array(list.certificates.prefix(1)) : list.certificates
        return (try? anchors.judgeKeys(of: chain, by: rules)) ?? []
    }
}
