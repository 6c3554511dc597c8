internal import Handshake
internal import X509

/// Cache of peer chains that were verified with these credentials' trust store and revocation lists, so that a
/// returning client needs no second verification.
///
/// It belongs to one generation of one role's credentials: trust store, revocation lists and purpose are the same for
/// all entries. The key is the presented chain, byte for byte. Dates are checked on each use. Names are not cached, nor
/// are chains that failed or that came with a stapled OCSP response. One thread.
final class VerifiedChains {
    /// Result of verifying a chain.
    struct ChainVerdict {
        let summary: CertificateDescription
        let coverage: [RevocationCoverage]
        /// Remarks for the log on an accepted peer.
        let remarks: [String]
        let window: ClosedRange<Int64>?
    }

    /// A chain that was verified.
    final class Entry {
        /// The presented chain, leaf first.
        let chain: [Certificate]
        /// Description of the leaf.
        let summary: CertificateDescription
        /// Revocation coverage of the chain. The lists do not change during the lifetime of the cache.
        let coverage: [RevocationCoverage]
        let remarks: [String]
        /// Last time that this server had the full time to refuse us and did not; CLOCK_MONOTONIC nanoseconds.
        var acceptedUsAt: UInt64?
        /// Last time that this server refused our certificate; CLOCK_MONOTONIC nanoseconds.
        var refusedUsAt: UInt64?
        /// Period during which all participating certificates are valid, the authority of the trust store included;
        /// seconds since 1970-01-01T00:00:00Z.
        fileprivate let window: ClosedRange<Int64>

        fileprivate init(_ chain: [Certificate], _ verdict: ChainVerdict, _ window: ClosedRange<Int64>) {
            self.chain = chain
            summary = verdict.summary
            coverage = verdict.coverage
            remarks = verdict.remarks
            self.window = window
        }
    }

    /// Maximum number of entries. A parsed certificate takes about 20 kB, so a full cache takes 5 MB of a worker.
    static let limit = 256
    /// Maximum size of a cached chain in bytes. Longer ones are verified each time.
    static let longestChain = 16_384

    private let limit: Int
    private var entries: [[UInt8]: Entry] = [:]
    /// The keys in order of insertion; a ring buffer once it is full.
    private var order: [[UInt8]] = []
    private var oldest = 0

    init(limit: Int = VerifiedChains.limit) {
        self.limit = limit
    }

    var count: Int { entries.count }

    /// The entry of a chain; `nil` if a certificate has expired, so that GnuTLS reports which.
    func find(_ presented: [UInt8], now: Int64) -> Entry? {
        guard let entry = entries[presented], entry.window.contains(now) else { return nil }
        return entry
    }

    /// Adds a chain that was just verified.
    func note(_ presented: [UInt8], _ chain: [Certificate], _ verdict: ChainVerdict, now: Int64) {
        guard limit > 0, presented.count <= Self.longestChain, entries[presented] == nil,
            let window = verdict.window, window.contains(now)
        else { return }
        if order.count < limit {
            order.append(presented)
        } else {
            entries[order[oldest]] = nil
            order[oldest] = presented
            oldest = (oldest + 1) % limit
        }
        entries[presented] = Entry(chain, verdict, window)
    }

    /// Removes all entries.
    func clear() {
        entries = [:]
        order = []
        oldest = 0
    }
}

extension Credentials {
    /// Clears the cache, so that every chain is verified anew; for benchmarks.
    package func forgetVerifiedChains() { verifiedChains.clear() }
}
