import Glibc
import System
import TestSupport
import Testing

/// What ends a loop under test.
private struct LoopEnd: Error, Equatable {
    var text = ""
}

@Suite("Event loop")
struct EventLoopTests {
    private typealias Loop = EventLoop

    /// A clock that the test moves, and what has run.
    private final class Bench {
        var now: UInt64 = 1
        var ran: [String] = []
    }

    /// A descriptor that is readable.
    private final class Readable {
        private var pair: MessageChannelPair
        let near: MessageChannel
        private let far: MessageChannel

        init() throws {
            pair = try MessageChannel.pair()
            near = pair.takeFirst()
            far = pair.takeSecond()
            #expect(try far.send(SecretBuffer(capacity: 8), count: 1) == .sent)
        }
    }

    private let bench = Bench()

    private func loop() throws -> Loop {
        try Loop(clock: { [bench] in bench.now })
    }

    @Test("a source runs each time that its descriptor is ready, until it is cancelled or nobody holds it")
    func sources() throws {
        let loop = try loop(), one = try Readable(), other = try Readable()
        var held: Loop.Source? = try loop.watch(one.near.number) { [bench] _ in bench.ran.append("one") }
        let cancelled = try loop.watch(other.near.number) { [bench] _ in bench.ran.append("other") }
        try loop.turn(atMost: 0)
        #expect(bench.ran.sorted() == ["one", "other"])
        cancelled.cancel()
        try loop.turn(atMost: 0)
        #expect(bench.ran.count == 3 && bench.ran.last == "one")
        withExtendedLifetime(held) {}
        held = nil
        try loop.turn(atMost: 0)
        #expect(bench.ran.count == 3)
        // Neither is watched any more, so both can be once more.
        _ = try loop.watch(one.near.number) { _ in }
        _ = try loop.watch(other.near.number) { _ in }
    }

    @Test("what one action cancels does not run in the same turn, in either order")
    func cancelledMeanwhile() throws {
        let loop = try loop(), one = try Readable(), other = try Readable()
        var sources: [Loop.Source] = []
        for (index, readable) in [one, other].enumerated() {
            sources.append(
                try loop.watch(readable.near.number) { [bench] _ in
                    bench.ran.append("\(index)")
                    sources[1 - index].cancel()
                })
        }
        try loop.turn(atMost: 0)
        #expect(bench.ran.count == 1)
        try loop.turn(atMost: 0)
        #expect(bench.ran.count == 2 && Set(bench.ran).count == 1)
    }

    @Test("urgent sources run first")
    func urgent() throws {
        let loop = try loop()
        let readables = try (0..<8).map { _ in try Readable() }
        var sources: [Loop.Source] = []
        for (index, readable) in readables.enumerated() {
            sources.append(
                try loop.watch(readable.near.number, isUrgent: index >= 6) { [bench] _ in
                    bench.ran.append(index >= 6 ? "urgent" : "other")
                })
        }
        try loop.turn(atMost: 0)
        #expect(bench.ran == ["urgent", "urgent"] + Array(repeating: "other", count: 6))
        withExtendedLifetime(sources) {}
    }

    @Test("an interest is changed where it differs, and a source without a descriptor has none")
    func interest() throws {
        let loop = try loop(), one = try Readable()
        let source = try loop.watch(one.near.number, for: []) { [bench] event in
            bench.ran.append(event.isWritable ? "writable" : "readable")
        }
        try loop.turn(atMost: 0)
        #expect(bench.ran.isEmpty)
        try source.watch(for: .write)
        try loop.turn(atMost: 0)
        #expect(bench.ran == ["writable"] && source.interest == .write)
        try source.watch(for: .read)
        try loop.turn(atMost: 0)
        #expect(bench.ran == ["writable", "readable"])
        source.cancel()
        try source.watch(for: .write)
        try loop.turn(atMost: 0)
        #expect(bench.ran.count == 2)
    }

    @Test("a timer runs once when it is due, the earliest first, and not after it was moved, unset or released")
    func timers() throws {
        let loop = try loop()
        var timers = (0..<4).map { index in loop.timer { [bench] in bench.ran.append("\(index)") } }
        for (index, deadline) in [30, 20, 10, 10].enumerated() { timers[index].deadline = UInt64(deadline) }
        #expect(timers[0].deadline == 30)
        timers[2].deadline = nil
        timers.removeLast()
        bench.now = 25
        try loop.turn(atMost: 0)
        #expect(bench.ran == ["1"])
        timers[0].deadline = 100
        bench.now = 99
        try loop.turn(atMost: 0)
        #expect(bench.ran == ["1"])
        bench.now = 100
        try loop.turn(atMost: 0)
        try loop.turn(atMost: 0)
        #expect(bench.ran == ["1", "0"])
    }

    @Test("timers run a few at a time, after what is ready")
    func manyTimers() throws {
        let loop = try loop(), one = try Readable()
        let source = try loop.watch(one.near.number) { [bench] _ in bench.ran.append("ready") }
        let timers = (0..<40).map { _ in loop.timer { [bench] in bench.ran.append("due") } }
        for timer in timers { timer.deadline = 1 }
        try loop.turn()
        #expect(bench.ran == ["ready"] + Array(repeating: "due", count: 16))
        try loop.turn()
        try loop.turn()
        #expect(bench.ran.count(where: { $0 == "due" }) == 40)
        withExtendedLifetime(source) {}
    }

    @Test("schedules run in their order when their time has come, before anything else")
    func schedules() throws {
        let loop = try loop(), one = try Readable()
        var due: [UInt64?] = [5, 3, nil]
        for index in due.indices {
            loop.schedule({ due[index] }) { [bench] now in
                bench.ran.append("\(index) at \(now)")
                due[index] = nil
            }
        }
        let source = try loop.watch(one.near.number) { [bench] _ in bench.ran.append("ready") }
        bench.now = 4
        try loop.turn()
        bench.now = 5
        try loop.turn()
        #expect(bench.ran == ["1 at 4", "ready", "0 at 5", "ready"])
        withExtendedLifetime(source) {}
    }

    @Test("a wait ends when the earliest deadline has come, be it a schedule's or a timer's")
    func wait() throws {
        let loop = try Loop()
        let timer = loop.timer { [bench] in bench.ran.append("timer") }
        timer.deadline = loop.now + 3_000_000
        var next: UInt64? = loop.now + 30_000_000
        loop.schedule({ next }) { [bench] _ in
            bench.ran.append("schedule")
            next = nil
        }
        // A signal of another test may end a wait early. The turn that runs the schedule waits as well, for nothing.
        while bench.ran.count < 2 { try loop.turn(atMost: 100_000_000) }
        #expect(bench.ran == ["timer", "schedule"])
    }

    @Test("the wait of a turn takes into account what its actions changed")
    func movedDeadlines() throws {
        var waits: [UInt64?] = []
        let loop = try Loop(
            clock: { [bench] in bench.now },
            beforeWait: { timeout in
                waits.append(timeout)
                return 0
            })
        var first: UInt64? = 1000, second: UInt64? = 1
        loop.schedule({ first }) { _ in first = nil }
        loop.schedule({ second }) { _ in (first, second) = (101, nil) }
        try loop.turn()
        bench.now = 101
        try loop.turn()
        #expect(waits == [100, nil])
    }

    @Test("an action's error ends the turn, and so does epoll's")
    func failures() throws {
        let loop = try loop(), one = try Readable()
        let source = try loop.watch(one.near.number) { _ in throw LoopEnd(text: "enough") }
        #expect(throws: LoopEnd(text: "enough")) { try loop.turn(atMost: 0) }
        let other = unsafe open("/dev/null", O_RDONLY)
        #expect(dup2(other, loop.number) == loop.number)
        close(other)
        #expect(throws: SystemError("epoll_wait", EINVAL)) { try loop.turn(atMost: 0) }
        withExtendedLifetime(source) {}
    }
}
