internal import Synchronization

/// SplitMix64: the same numbers for the same seed on every machine.
struct Random {
    private var state: UInt64

    init(seed: UInt64) {
        state = seed &* 0x9e37_79b9_7f4a_7c15 &+ 0x1234_5678_9abc_def1
    }

    private mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var value = state
        value = (value ^ (value >> 30)) &* 0xbf58_476d_1ce4_e5b9
        value = (value ^ (value >> 27)) &* 0x94d0_49bb_1331_11eb
        return value ^ (value >> 31)
    }

    mutating func below(_ limit: Int) -> Int { Int(next() % UInt64(max(limit, 1))) }
    mutating func within(_ range: ClosedRange<Int>) -> Int { range.lowerBound + below(range.count) }
    /// True in the given number of a thousand cases.
    mutating func happens(_ thousandths: Int) -> Bool { below(1000) < thousandths }
    mutating func pick<Value>(_ values: [Value]) -> Value? { values.isEmpty ? nil : values[below(values.count)] }
    /// A random number of nanoseconds up to the given one.
    mutating func time(upTo limit: UInt64) -> UInt64 { next() % max(limit, 1) }
}

/// CLOCK_MONOTONIC of the simulation. It advances only when told to.
final class SimulatedClock: Sendable {
    private let time = Atomic<UInt64>(1_000_000_000_000)

    var now: UInt64 { time.load(ordering: .relaxed) }
    func advance(_ nanoseconds: UInt64) { time.wrappingAdd(nanoseconds, ordering: .relaxed) }
}
