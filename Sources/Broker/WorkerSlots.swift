internal import Handshake

/// When each place for a worker is to be filled again: at once after a worker that served, ever later after those that
/// died before they could, or that serve and die soon, several in a row. The last places that serve are not kept empty
/// for long. A value; it starts nothing.
struct WorkerSlots {
    private struct Slot {
        var worker: WorkerID?
        var failures = 0
        /// Workers in a row that served and died young.
        var youngDeaths = 0
        /// CLOCK_MONOTONIC nanoseconds.
        var startedAt: UInt64 = 0
        /// CLOCK_MONOTONIC nanoseconds.
        var notBefore: UInt64 = 0
    }

    private var slots: [Slot]
    private var lastID = 0

    var count: Int { slots.count }

    /// So many workers there are on every host, so that the death of one does not end all handshakes.
    static let least = 2

    init(processors: Int) {
        self.init(count: max(processors, Self.least))
    }

    init(count: Int) {
        slots = Array(repeating: Slot(), count: count)
    }

    /// Takes a free place whose time has come; the caller starts a worker of that name.
    mutating func claim(now: UInt64) -> WorkerID? {
        guard let index = slots.firstIndex(where: { $0.worker == nil && $0.notBefore <= now }) else { return nil }
        lastID += 1
        slots[index].worker = WorkerID(lastID)
        slots[index].startedAt = now
        return WorkerID(lastID)
    }

    /// Notes that a worker is ready: what happened before it is forgotten.
    mutating func succeeded(_ worker: WorkerID) {
        guard let index = index(of: worker) else { return }
        slots[index].failures = 0
    }

    /// What a death means for its place.
    struct Vacancy: Equatable {
        /// How many in a row died unready here.
        var failures = 0
        /// How many in a row served and died young here.
        var youngDeaths = 0
        /// Nanoseconds until the place is filled again.
        var pause: UInt64 = 0
    }

    /// Frees a dead worker's place.
    ///
    /// - Parameter served: whether it ever became ready.
    @discardableResult
    mutating func free(_ worker: WorkerID, served: Bool, now: UInt64) -> Vacancy {
        guard let index = index(of: worker) else { return Vacancy() }
        var slot = slots[index]
        slot.worker = nil
        if served {
            slot.failures = 0
            let lived = now > slot.startedAt ? now - slot.startedAt : 0
            slot.youngDeaths = lived < Self.youth ? slot.youngDeaths + 1 : 0
        } else {
            slot.failures += 1
        }
        // A worker that dies of what a stranger sends takes others' handshakes along, each time.
        var pause = Self.pause(after: served ? slot.youngDeaths - Self.forgiven : slot.failures)
        // Where hardly another is left, a pause would do the stranger's work.
        let others = slots.indices.count { $0 != index && slots[$0].worker != nil }
        if served, others < Self.least { pause = min(pause, Self.pause(after: 1)) }
        slot.notBefore = now + pause
        slots[index] = slot
        return Vacancy(failures: slot.failures, youngDeaths: slot.youngDeaths, pause: pause)
    }

    /// A worker that lived this long, in nanoseconds, died for a reason of its own.
    static let youth: UInt64 = 30_000_000_000
    /// So many young deaths in a row are followed at once by a new worker.
    static let forgiven = 3

    /// When the next free place may be filled; `nil` when none is free.
    var nextStart: UInt64? {
        slots.filter { $0.worker == nil }.map(\.notBefore).min()
    }

    /// 0.1 s, doubled each time, 10 s at most.
    static func pause(after failures: Int) -> UInt64 {
        guard failures > 0 else { return 0 }
        return min(100_000_000 << UInt64(min(failures - 1, 7)), 10_000_000_000)
    }

    private func index(of worker: WorkerID) -> Int? {
        slots.firstIndex { $0.worker == worker }
    }
}
