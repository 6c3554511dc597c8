internal import Handshake

/// Chains of peers' certificates that these credentials' trust store and revocation lists have verified, so that a
/// client that comes back costs no second verification.
///
/// It belongs to one generation of one role's credentials and dies with it: trust store, revocation lists and purpose
/// are the same for all entries. The key is the whole chain as it was presented, byte for byte. Dates are looked at
/// each time; names are not kept, nor is any chain that failed, nor one that came with a stapled OCSP response. One
/// thread.
final class VerifiedChains {
    /// What verifying a chain has led to.
    struct ChainVerdict {
        let summary: CertificateDescription
        let coverage: [RevocationCoverage]
        /// What is to be said of the peer though it is let in.
        let remarks: [String]
        let window: ClosedRange<Int64>?
    }

    /// A chain that was verified.
    final class Entry {
        /// As it was presented, leaf first.
        let chain: [Certificate]
        /// Of the leaf.
        let summary: CertificateDescription
        /// What the revocation lists say of it; they are the same for as long as it is kept.
        let coverage: [RevocationCoverage]
        let remarks: [String]
        /// When this server last had all the time it wanted to refuse us and did not; CLOCK_MONOTONIC nanoseconds.
        var acceptedUsAt: UInt64?
        /// When this server last refused our certificate; CLOCK_MONOTONIC nanoseconds.
        var refusedUsAt: UInt64?
        /// Seconds since 1970-01-01T00:00:00Z between which every certificate is valid that took part, the authority of
        /// the trust store included.
        fileprivate let window: ClosedRange<Int64>

        fileprivate init(_ chain: [Certificate], _ verdict: ChainVerdict, _ window: ClosedRange<Int64>) {
            self.chain = chain
            summary = verdict.summary
            coverage = verdict.coverage
            remarks = verdict.remarks
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

    init(limit: Int = VerifiedChains.limit) {
        self.limit = limit
    }

    var count: Int { entries.count }

    /// The entry of a chain, unless one of its certificates is out of date by now; then the library says which.
    func find(_ presented: [UInt8], now: Int64) -> Entry? {
        guard let entry = entries[presented], entry.window.contains(now) else { return nil }
        return entry
    }

    /// Notes a chain that has been verified this moment.
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

    /// Forgets all.
    func clear() {
        entries = [:]
        order = []
        oldest = 0
    }
}

extension Credentials {
    /// Has every chain verified anew; for benchmarks, which compare.
    package func forgetVerifiedChains() { verifiedChains.clear() }
}
