internal import CGnuTLS
package import Handshake
package import System
package import TLS
internal import X509

extension Credentials {
    /// All problems of a chain with respect to the trust store and revocation lists of these credentials, most serious
    /// first. A handshake stops at the first. Names are not checked.
    package func problems(with list: CertificateList) -> [HandshakeFailure] {
        let chain = list.sorted
        guard !chain.isEmpty else { return [HandshakeFailure(.certificateMissing)] }
        var trusted: gnutls_x509_trust_list_t?
        // Borrowed from the credentials.
        unsafe gnutls_certificate_get_trust_list(handle, &trusted)
        let now = Clock.unixTime()
        let found: TrustedChain
        do throws(GnuTLSError) {
            found = try follow(chain, now: now) { (candidate) throws(GnuTLSError) in
                var path = unsafe (candidate?.path ?? chain).map { unsafe Optional($0.handle) }
                var anchor = unsafe candidate.map { unsafe $0.anchor.handle }
                var status: UInt32 = 0
                let code =
                    unsafe candidate == nil
                    ? gnutls_x509_trust_list_verify_crt2(trusted, &path, UInt32(path.count), nil, 0, 0, &status, nil)
                    : gnutls_x509_crt_list_verify(path, UInt32(path.count), &anchor, 1, nil, 0, 0, &status)
                try GnuTLS.check(code, "gnutls_x509_trust_list_verify_crt2")
                return status
            }
        } catch {
            return [HandshakeFailure(.libraryFailure, error.description)]
        }
        var problems = CertificateJudgement.all(found)
        do throws(HandshakeFailure) {
            if problems.isEmpty { try anchors.judgeConstraints(of: chain) }
        } catch {
            problems.append(error)
        }
        do throws(HandshakeFailure) {
            _ = try anchors.judgeKeys(of: chain, by: rules)
        } catch {
            problems.append(error)
        }
        do throws(HandshakeFailure) {
            let known = try coverage(of: found)
            for one in known.covered { try one.check(now: now) }
        } catch {
            problems.append(error)
        }
        return problems
    }
}

extension Credentials {
    /// Error text if our own chain is too long.
    package var lengthProblem: String? { chains.lazy.compactMap(\.lengthProblem).first }
}

extension CertificateList {
    /// The same certificates, ordered as these credentials present them: leaf first, then each one's issuer.
    package func starting(with credentials: Credentials) -> CertificateList {
        guard let leaf = credentials.chains.first?.leaf.keyIdentifier,
            let index = certificates.firstIndex(where: { $0.keyIdentifier == leaf })
        else { return self }
        var others = certificates
        let first = others.remove(at: index)
        return CertificateList(CertificateList([first] + others).sorted)
    }
}

extension CertificateJudgement {
    /// One failure for each bit of a verification status.
    static func all(_ chain: TrustedChain) -> [HandshakeFailure] {
        let status = chain.status
        // GNUTLS_CERT_INVALID accompanies each of the other bits.
        let particular = status & ~GNUTLS_CERT_INVALID.rawValue
        guard particular != 0 else { return status == 0 ? [] : [CertificateJudgement(status, chain).failure] }
        let bits = (0..<32).map { UInt32(1) << UInt32($0) }.filter { particular & $0 != 0 }
        let gravest = CertificateJudgement(status, chain).failure
        var failures = [gravest]
        for failure in bits.map({ CertificateJudgement($0, chain).failure }) where !failures.contains(failure) {
            failures.append(failure)
        }
        return failures
    }
}

extension HandshakeSession {
    /// Certificates that the peer presented, verified or not; `nil` if there are none or they cannot be parsed. Valid
    /// as long as the session.
    package var peerCertificates: CertificateList? {
        guard let chain = try? peerChain(), !chain.isEmpty else { return nil }
        return CertificateList(chain)
    }
}

/// A revocation list, for display.
package struct RevocationFacts: Sendable, Equatable {
    /// RFC 4514 text.
    package let issuer: String
    /// Seconds since 1970-01-01T00:00:00Z; negative if absent.
    package let thisUpdate: Int64
    /// Seconds since 1970-01-01T00:00:00Z; negative if absent.
    package let nextUpdate: Int64
    package let revoked: Int

    /// Reads all lists of a file.
    package static func read(_ file: borrowing OwnedDescriptor, path: String) throws(TextError)
        -> [RevocationFacts]
    {
        let contents = try TextError.of("\(path) cannot be read", try SealedContents(of: file))
        let lists: RevocationLists
        do throws(TextError) {
            lists = try unsafe contents.withUnsafeBytes { (bytes) throws(TextError) in
                try unsafe RevocationLists(PEMFile(bytes))
            }
        } catch {
            throw .unusable(revocationList: path, error.description)
        }
        return lists.lists.map { RevocationFacts($0) }
    }

    private init(_ list: RevocationList) {
        issuer = list.issuer
        thisUpdate = list.thisUpdate
        nextUpdate = list.nextUpdate ?? -1
        revoked = Int(unsafe gnutls_x509_crl_get_crt_count(list.handle))
    }
}

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
