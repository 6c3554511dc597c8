internal import Handshake

/// When each place for a worker is to be filled again: at once after a worker that served, ever later after those that died before
/// they could. A value; it starts nothing.
struct WorkerSlots {
    private struct Slot {
        var worker: WorkerID?
        var failures = 0
        /// CLOCK_MONOTONIC nanoseconds.
        var notBefore: UInt64 = 0
    }

    private var slots: [Slot]
    private var lastID = 0

    init(count: Int) {
        slots = Array(repeating: Slot(), count: count)
    }

    /// Takes a free place whose time has come; the caller starts a worker of that name.
    mutating func claim(now: UInt64) -> WorkerID? {
        guard let index = slots.firstIndex(where: { $0.worker == nil && $0.notBefore <= now }) else { return nil }
        lastID += 1
        slots[index].worker = WorkerID(lastID)
        return WorkerID(lastID)
    }

    /// Notes that a worker is ready: what happened before it is forgotten.
    mutating func succeeded(_ worker: WorkerID) {
        guard let index = index(of: worker) else { return }
        slots[index].failures = 0
    }

    /// Frees a dead worker's place.
    ///
    /// - Parameter served: whether it ever became ready.
    /// - Returns: how many in a row died unready in this place.
    @discardableResult
    mutating func free(_ worker: WorkerID, served: Bool, now: UInt64) -> Int {
        guard let index = index(of: worker) else { return 0 }
        slots[index].worker = nil
        slots[index].failures = served ? 0 : slots[index].failures + 1
        slots[index].notBefore = served ? now : now + Self.pause(after: slots[index].failures)
        return slots[index].failures
    }

    /// When the next free place may be filled; `nil` when none is free.
    var nextStart: UInt64? {
        slots.filter { $0.worker == nil }.map(\.notBefore).min()
    }

    /// 0.1 s, doubled each time, 10 s at most.
    private static func pause(after failures: Int) -> UInt64 {
        min(100_000_000 << UInt64(min(failures - 1, 7)), 10_000_000_000)
    }

    private func index(of worker: WorkerID) -> Int? {
        slots.firstIndex { $0.worker == worker }
    }
}
