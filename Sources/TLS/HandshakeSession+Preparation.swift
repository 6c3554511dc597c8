internal import CGnuTLS
internal import Handshake
internal import System
internal import TLSWire
internal import Wire
internal import X509

/// Settings before the first message: credentials, priorities, names.
extension HandshakeSession {
    func prepareCertificates() throws(HandshakeFailure) {
        guard let credentials else { throw HandshakeFailure(.roleNotConfigured) }
        if role == .client, authentication == .x509, requestChain == nil, !credentials.presentsCertificate {
            throw HandshakeFailure(.roleNotConfigured, "no certificate of our own is configured")
        }
        let priority = unsafe priorities.certificates
        try Self.require(unsafe gnutls_priority_set(session, priority), "gnutls_priority_set")
        try Self.require(
            unsafe gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, UnsafeMutableRawPointer(credentials.handle)),
            "gnutls_credentials_set")
        try offerApplicationProtocol()
        unsafe gnutls_session_set_verify_function(session, verifyPeer)
        switch role {
        case .client:
            guard peerName != nil || isPeerNameOptional else { throw HandshakeFailure(.peerNameMissing) }
            // A name that is not a valid DNS name is not sent; the certificate check decides.
            if let name = peerName?.serverName {
                _ = unsafe gnutls_server_name_set(session, GNUTLS_NAME_DNS, name, name.utf8.count)
            }
        case .server:
            unsafe gnutls_certificate_server_set_request(session, GNUTLS_CERT_REQUEST)
            // The list of a system's authorities is 14 kB, and clients that choose a certificate by it choose wrongly.
            unsafe gnutls_certificate_send_x509_rdn_sequence(session, 1)
        }
    }

    private func offerApplicationProtocol() throws(HandshakeFailure) {
        let code = unsafe Array(Self.applicationProtocol.utf8).withUnsafeBytes { raw in
            var datum = unsafe gnutls_datum_t(borrowing: raw)
            return unsafe gnutls_alpn_set_protocols(session, &datum, 1, 0)
        }
        try Self.require(code, "gnutls_alpn_set_protocols")
    }

    func preparePreSharedKey(_ job: HandshakeJob, _ secrets: borrowing SecretBuffer) throws(HandshakeFailure) {
        switch job.role {
        case .server:
            // The hash of the PSK is known only after the ClientHello; until then any supported hash is set.
            guard
                let first = unsafe PSKHash.allCases.compactMap({ unsafe priorities.preSharedKey($0) }).first
            else { throw HandshakeFailure(.noCommonCipherSuite, "the crypto policy leaves no suite for PSKs") }
            try Self.require(unsafe gnutls_priority_set(session, first), "gnutls_priority_set")
        case .client: try offerFirstUsableKey(of: job, secrets)
        }
    }

    /// Offers the first usable PSK. GnuTLS can offer only one external PSK in a ClientHello.
    private func offerFirstUsableKey(of job: HandshakeJob, _ secrets: borrowing SecretBuffer) throws(HandshakeFailure) {
        var problem = HandshakeFailure(.pskUnreadable, "the request names no PSK")
        for (index, entry) in job.preSharedKeys.enumerated() {
            let hash = PSKHash.of(identity: entry.identity, keyLength: entry.key.count)
            pskIdentity = String(decoding: entry.identity, as: UTF8.self)
            if let reason = environment.problem(with: hash) {
                problem = reason
                continue
            }
            guard !entry.identity.isEmpty, entry.key.count > 0 else {
                problem = HandshakeFailure(.pskUnreadable, "its identity or key is empty")
                continue
            }
            try use(entry, hash, secrets)
            pskIndex = index
            return
        }
        throw problem
    }

    private func use(
        _ entry: PreSharedKeyField, _ hash: PSKHash, _ secrets: borrowing SecretBuffer
    ) throws(HandshakeFailure) {
        let made: ClientPSKCredentials
        do throws(GnuTLSError) {
            made = try unsafe secrets.withUnsafeBytes { (raw) throws(GnuTLSError) in
                try unsafe ClientPSKCredentials(
                    entry.identity, UnsafeRawBufferPointer(rebasing: raw[entry.key.range]), hash)
            }
        } catch {
            throw HandshakeFailure(.pskUnreadable, error.description)
        }
        clientKey = made
        let priority = unsafe try require(hash)
        try Self.require(unsafe gnutls_priority_set(session, priority), "gnutls_priority_set")
        try Self.require(
            unsafe gnutls_credentials_set(session, GNUTLS_CRD_PSK, UnsafeMutableRawPointer(made.handle)),
            "gnutls_credentials_set")
    }
}
