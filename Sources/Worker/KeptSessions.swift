internal import Handshake
internal import System
internal import TLS
internal import Wire

/// The connections whose secrets this process keeps for key updates: so many at most, each for its time and no longer.
struct KeptSessions {
    private struct Entry {
        let secrets: TrafficSecrets
        let cipherSuite: String
        /// CLOCK_MONOTONIC nanoseconds.
        var until: UInt64
    }

    /// By the jobs of their handshakes.
    private var entries: [UInt64: Entry] = [:]

    /// Keeps one, in a page of its own; when there are too many, the one that ends first is wiped.
    mutating func keep(
        _ secrets: TrafficSecrets, of session: UInt64, cipherSuite: String, for lifetime: Duration, now: UInt64
    ) {
        expire(now)
        if entries.count >= MessageLimit.keptSessions, let first = entries.min(by: { $0.value.until < $1.value.until })
        {
            entries[first.key] = nil
        }
        entries[session] = Entry(
            secrets: secrets, cipherSuite: cipherSuite, until: now + Clock.nanoseconds(of: lifetime))
    }

    /// What is kept of a session; `nil` when nothing is, or no longer.
    mutating func find(_ session: UInt64, now: UInt64) -> (secrets: TrafficSecrets, cipherSuite: String)? {
        expire(now)
        return entries[session].map { ($0.secrets, $0.cipherSuite) }
    }

    /// Its keys were replaced: its time begins anew, and is as long as the broker says now.
    mutating func renew(_ session: UInt64, for lifetime: Duration, now: UInt64) {
        entries[session]?.until = now + Clock.nanoseconds(of: lifetime)
    }

    /// Wipes one.
    mutating func forget(_ session: UInt64) {
        entries[session] = nil
    }

    /// Wipes those whose time is over.
    mutating func expire(_ now: UInt64) {
        guard let next = nextExpiry, next <= now else { return }
        entries = entries.filter { $0.value.until > now }
    }

    /// When the next one is to be wiped; CLOCK_MONOTONIC nanoseconds.
    var nextExpiry: UInt64? { entries.values.map(\.until).min() }

    var count: Int { entries.count }
}
