internal import Handshake

/// When the signer is to be started, and when again after it died: at once after one that served long, ever later
/// otherwise. A value; it starts nothing.
struct SignerState {
    /// Whether any key was ever to be used; without one no signer is started.
    var isNeeded = false
    var process: SignerProcess?
    private var startedAt: UInt64 = 0
    private var failures = 0
    private var notBefore: UInt64 = 0
    private var starts = 0
    /// How many died, were killed or could not be started.
    private(set) var deaths = 0
    /// Workers that got no answer from this one.
    var suspectedBy: Set<WorkerID> = []
    /// Generations that handshakes under way may still use, and until when.
    var outgoing: [(due: UInt64, owner: CredentialsOwner, generation: UInt32)] = []

    /// The number of a signer that is to be started now; `nil` where none is.
    mutating func claim(now: UInt64) -> Int? {
        guard canStart(now) else { return nil }
        starts += 1
        startedAt = now
        return starts
    }

    /// Notes that it has ended or could not be started.
    ///
    /// - Returns: nanoseconds until the next.
    mutating func free(now: UInt64) -> UInt64 {
        process = nil
        suspectedBy = []
        deaths += 1
        failures = now < startedAt + WorkerSlots.youth ? failures + 1 : 1
        let pause = WorkerSlots.pause(after: failures - 1)
        notBefore = now + pause
        return pause
    }

    /// Whether the next turn starts one.
    func canStart(_ now: UInt64) -> Bool { isNeeded && process == nil && notBefore <= now }

    /// When the next can be started; `nil` where none is wanted.
    var nextStart: UInt64? { isNeeded && process == nil ? notBefore : nil }
}
