internal import CGnuTLS
internal import Handshake

/// Chains of peers' certificates that these credentials' trust store and revocation lists have verified, so that a
/// client that comes back costs no second verification.
///
/// It belongs to one generation of one role's credentials and dies with it: trust store, revocation lists and purpose
/// are the same for all entries. The key is the whole chain as it was presented, byte for byte. Dates are looked at
/// each time; names are not kept, nor is any chain that failed, nor one that came with a stapled OCSP response. One
/// thread.
final class VerifiedChains {
    /// A chain that was verified.
    final class Entry {
        /// As it was presented, leaf first.
        let chain: [Certificate]
        /// Of the leaf.
        let summary: CertificateDescription
        /// When this server last had all the time it wanted to refuse us and did not; CLOCK_MONOTONIC nanoseconds.
        var acceptedUsAt: UInt64?
        /// When this server last refused our certificate; CLOCK_MONOTONIC nanoseconds.
        var refusedUsAt: UInt64?
        /// Seconds since 1970-01-01T00:00:00Z between which every certificate is valid that can have taken part, the
        /// authorities included.
        fileprivate let window: ClosedRange<Int64>

        fileprivate init(_ chain: [Certificate], _ summary: CertificateDescription, _ window: ClosedRange<Int64>) {
            self.chain = chain
            self.summary = summary
            self.window = window
        }
    }

    /// A parsed certificate takes about 20 kB, so that this many cost a worker 5 MB.
    static let limit = 256
    /// Bytes of a chain that is kept; longer ones are verified each time.
    static let longestChain = 16_384

    private let limit: Int
    private var entries: [[UInt8]: Entry] = [:]
    /// The keys in the order in which they came; a ring once it is full.
    private var order: [[UInt8]] = []
    private var oldest = 0
    /// The dates of the trust store's authorities by their names; read when first needed.
    private var authorities: [[UInt8]: ClosedRange<Int64>]?

    init(limit: Int = VerifiedChains.limit) {
        self.limit = limit
    }

    var count: Int { entries.count }

    /// The entry of a chain, unless one of its certificates is out of date by now; then the library says which.
    func find(_ presented: [UInt8], now: Int64) -> Entry? {
        guard let entry = entries[presented], entry.window.contains(now) else { return nil }
        return entry
    }

    /// Notes a chain that the library has verified this moment with the trust store of `credentials`.
    func note(
        _ presented: [UInt8], _ chain: [Certificate], _ summary: CertificateDescription,
        trustedBy credentials: gnutls_certificate_credentials_t, now: Int64
    ) {
        guard limit > 0, presented.count <= Self.longestChain, entries[presented] == nil,
            let window = unsafe window(of: chain, credentials), window.contains(now)
        else { return }
        if order.count < limit {
            order.append(presented)
        } else {
            entries[order[oldest]] = nil
            order[oldest] = presented
            oldest = (oldest + 1) % limit
        }
        entries[presented] = Entry(chain, summary, window)
    }

    /// Forgets all.
    func clear() {
        entries = [:]
        order = []
        oldest = 0
    }

    /// When all certificates of a chain are valid, and all authorities with an issuer's name: which of several with the
    /// same name the library chose is not known, so that all of them count. `nil` where there is no such time.
    private func window(
        of chain: [Certificate], _ credentials: gnutls_certificate_credentials_t
    ) -> ClosedRange<Int64>? {
        let known = unsafe authorities ?? Self.authorities(of: credentials)
        authorities = known
        var start = Int64.min, end = Int64.max
        for certificate in chain {
            let ranges = [certificate.validity, known[certificate.rawIssuer], known[certificate.rawSubject]]
            for range in ranges.compactMap({ $0 }) {
                start = max(start, range.lowerBound)
                end = min(end, range.upperBound)
            }
        }
        return start <= end ? start...end : nil
    }

    private static func authorities(
        of credentials: gnutls_certificate_credentials_t
    ) -> [[UInt8]: ClosedRange<Int64>] {
        var found: [[UInt8]: ClosedRange<Int64>] = [:]
        for authority in unsafe Certificate.authorities(of: credentials) {
            let validity = authority.validity
            guard let other = found[authority.rawSubject] else {
                found[authority.rawSubject] = validity
                continue
            }
            let start = max(other.lowerBound, validity.lowerBound)
            // Where they have no time in common, none fits: a range that is over.
            found[authority.rawSubject] = start...max(start, min(other.upperBound, validity.upperBound))
        }
        return found
    }
}

extension Certificate {
    /// All of a trust store.
    static func authorities(of credentials: gnutls_certificate_credentials_t) -> [Certificate] {
        var found: [Certificate] = []
        var list: gnutls_x509_trust_list_t?
        // The list belongs to the credentials; the certificates are copies of ours.
        unsafe gnutls_certificate_get_trust_list(credentials, &list)
        var place: gnutls_x509_trust_list_iter_t?
        var handle: OpaquePointer?
        while unsafe gnutls_x509_trust_list_iter_get_ca(list, &place, &handle) >= 0 {
            guard let owned = unsafe handle else { break }
            found.append(unsafe Certificate(adopting: owned))
        }
        unsafe gnutls_x509_trust_list_iter_deinit(place)
        return found
    }

    /// Both ends belong to it (RFC 5280 §4.1.2.5). A date that cannot be read makes it empty but for one second long
    /// ago.
    fileprivate var validity: ClosedRange<Int64> {
        let start = notBefore, end = notAfter
        return start >= 0 && end >= start ? start...end : 0...0
    }

    fileprivate var rawSubject: [UInt8] { unsafe Self.bytes { unsafe gnutls_x509_crt_get_raw_dn(handle, &$0) } }
    fileprivate var rawIssuer: [UInt8] {
        unsafe Self.bytes { unsafe gnutls_x509_crt_get_raw_issuer_dn(handle, &$0) }
    }

    private static func bytes(_ fetch: (inout gnutls_datum_t) -> Int32) -> [UInt8] {
        var datum = unsafe gnutls_datum_t()
        guard unsafe fetch(&datum) >= 0 else { return [] }
        defer { unsafe cgnutls_free(datum.data) }
        return unsafe Array(UnsafeBufferPointer(start: datum.data, count: Int(datum.size)))
    }
}

extension Credentials {
    /// Has every chain verified anew; for benchmarks, which compare.
    package func forgetVerifiedChains() { verifiedChains.clear() }
}
