import Glibc
import System
import TestSupport
import Testing
import Unconfined

@Suite("Poller and signals")
struct PollerTests {
    @Test("a descriptor is reported with its token when it becomes readable, writable, or hung up")
    func events() throws {
        let poller = try Poller()
        var pair = try MessageChannel.pair()
        let near = pair.takeFirst()
        let buffer = try SecretBuffer(capacity: 8)
        try poller.add(near.number, token: 77, interest: .read)
        #expect(try poller.wait(timeout: 0).isEmpty)
        do {
            let far = pair.takeSecond()
            #expect(try far.send(buffer, count: 1) == .sent)
            let events = try poller.waitUndisturbed(timeout: 60_000_000_000)
            #expect(events.count == 1)
            #expect(events.first?.token == 77 && events.first?.isReadable == true && events.first?.isWritable == false)
            try poller.modify(near.number, token: 78, interest: .write)
            #expect(try poller.wait(timeout: 0).first?.isWritable == true)
        }
        try poller.modify(near.number, token: 79, interest: [])
        let last = try poller.waitUndisturbed(timeout: 60_000_000_000)
        #expect(last.first?.token == 79 && last.first?.isHungUp == true)
        try poller.remove(near.number)
        #expect(try poller.wait(timeout: 0).isEmpty)
    }

    @Test("waiting without events lasts at least as long as asked")
    func timeout() throws {
        let poller = try Poller()
        // Not `waitUndisturbed`: the last wait alone must last as long.
        var start: UInt64
        repeat {
            errno = 0
            start = Clock.monotonicNanoseconds()
            #expect(try poller.wait(timeout: 10_400_000).isEmpty)
        } while errno == EINTR
        #expect(Clock.monotonicNanoseconds() - start >= 10_400_000)
    }

    @Test("watching a descriptor twice names it")
    func twice() throws {
        let poller = try Poller()
        var pair = try MessageChannel.pair()
        let near = pair.takeFirst()
        try poller.add(near.number, token: 1, interest: .read)
        let expected = SystemError("epoll_ctl", EEXIST, "of descriptor \(near.number)")
        #expect(throws: expected) { try poller.add(near.number, token: 1, interest: .read) }
    }

    @Test("a signal to this thread is read instead of acted on")
    func signal() throws {
        let signals = try SignalDescriptor([SIGUSR2])
        #expect(try signals.next() == nil)
        pthread_kill(pthread_self(), SIGUSR2)
        #expect(try signals.next() == SIGUSR2)
        #expect(try signals.next() == nil)
    }

    @Test("durations become nanoseconds, and no duration overflows")
    func durations() {
        #expect(Clock.nanoseconds(of: .milliseconds(4500)) == 4_500_000_000)
        #expect(Clock.nanoseconds(of: .seconds(-1)) == 0)
        #expect(Clock.nanoseconds(of: .seconds(Int64.max)) == .max)
        #expect(Clock.deadline(in: .seconds(Int64.max)) == .max)
    }
}
