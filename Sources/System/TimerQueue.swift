/// Deadlines in chronological order, at most one per token. Reads no clock; the caller passes the time.
package struct TimerQueue: Sendable {
    private struct Entry: Sendable {
        let deadline: UInt64
        let token: UInt64
    }

    // A binary heap, earliest first. An entry that differs from its token's deadline in `deadlines` was moved or
    // cancelled, and is dropped when it reaches the top.
    private var heap: [Entry] = []
    private var deadlines: [UInt64: UInt64] = [:]

    package init() {}

    package var isEmpty: Bool { deadlines.isEmpty }

    /// Number of tokens with a deadline.
    package var count: Int { deadlines.count }

    /// Sets the deadline of `token`, replacing the old one.
    ///
    /// - Parameter deadline: nanoseconds on the caller's clock.
    package mutating func schedule(_ token: UInt64, at deadline: UInt64) {
        guard deadlines.updateValue(deadline, forKey: token) != deadline else { return }
        heap.append(Entry(deadline: deadline, token: token))
        siftUp(from: heap.count - 1)
        // Bounds the number of cancelled entries, which would otherwise accumulate for tokens with distant deadlines.
        if heap.count > 2 * deadlines.count + 64 { rebuild() }
    }

    /// Removes the deadline of `token`, if it has one.
    package mutating func cancel(_ token: UInt64) {
        deadlines[token] = nil
    }

    /// The deadline of `token`.
    package func deadline(of token: UInt64) -> UInt64? {
        deadlines[token]
    }

    /// Removes and returns the token with the earliest deadline if that is not after `now`.
    package mutating func popExpired(now: UInt64) -> UInt64? {
        dropStale()
        guard let first = heap.first, first.deadline <= now else { return nil }
        removeFirst()
        deadlines[first.token] = nil
        return first.token
    }

    /// Nanoseconds until the earliest deadline, for `Poller.wait`; 0 if it has passed, `nil` if there is none.
    package mutating func timeout(now: UInt64) -> UInt64? {
        dropStale()
        guard let first = heap.first else { return nil }
        return first.deadline > now ? first.deadline - now : 0
    }

    private mutating func dropStale() {
        while let first = heap.first, deadlines[first.token] != first.deadline { removeFirst() }
    }

    private mutating func rebuild() {
        heap = deadlines.map { Entry(deadline: $0.value, token: $0.key) }.sorted { $0.deadline < $1.deadline }
    }

    private mutating func removeFirst() {
        let last = heap.removeLast()
        guard !heap.isEmpty else { return }
        heap[0] = last
        siftDown()
    }

    private mutating func siftUp(from start: Int) {
        var index = start
        while index > 0 {
            let parent = (index - 1) / 2
            guard heap[index].deadline < heap[parent].deadline else { return }
            heap.swapAt(index, parent)
            index = parent
        }
    }

    private mutating func siftDown() {
        var index = 0
        while true {
            var least = index
            for child in [2 * index + 1, 2 * index + 2] where child < heap.count {
                if heap[child].deadline < heap[least].deadline { least = child }
            }
            guard least != index else { return }
            heap.swapAt(index, least)
            index = least
        }
    }
}
