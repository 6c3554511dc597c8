/// Deadlines in the order in which they come: tokens, each with at most one. It reads no clock; the caller says what
/// time it is.
package struct TimerQueue: Sendable {
    private struct Entry: Sendable {
        let deadline: UInt64
        let token: UInt64
    }

    // A binary heap, the earliest first. An entry whose deadline is not its token's in `deadlines` was moved or
    // cancelled, and is dropped when it surfaces.
    private var heap: [Entry] = []
    private var deadlines: [UInt64: UInt64] = [:]

    package init() {}

    package var isEmpty: Bool { deadlines.isEmpty }

    /// How many tokens have a deadline.
    package var count: Int { deadlines.count }

    /// Gives `token` a deadline, in place of the one that it may have.
    ///
    /// - Parameter deadline: nanoseconds on the caller's clock.
    package mutating func schedule(_ token: UInt64, at deadline: UInt64) {
        guard deadlines.updateValue(deadline, forKey: token) != deadline else { return }
        heap.append(Entry(deadline: deadline, token: token))
        siftUp(from: heap.count - 1)
        // Cancelled entries must not outgrow the live ones, or tokens with far deadlines would pile up.
        if heap.count > 2 * deadlines.count + 64 { rebuild() }
    }

    /// Takes the deadline away from `token`; nothing happens if it has none.
    package mutating func cancel(_ token: UInt64) {
        deadlines[token] = nil
    }

    /// The deadline of `token`.
    package func deadline(of token: UInt64) -> UInt64? {
        deadlines[token]
    }

    /// The next token whose deadline is not after `now`, the earliest first; it has none from now on.
    package mutating func popExpired(now: UInt64) -> UInt64? {
        dropStale()
        guard let first = heap.first, first.deadline <= now else { return nil }
        removeFirst()
        deadlines[first.token] = nil
        return first.token
    }

    /// Nanoseconds until the earliest deadline, 0 when it has passed; `nil` without deadlines. What `Poller.wait`
    /// takes.
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
