import Glibc
import System
import TestSupport
import Testing

@Suite("Message channels")
struct MessageChannelTests {
    private final class Link {
        let near: MessageChannel
        let far: MessageChannel
        var buffer: SecretBuffer

        init(capacity: Int = 131_072) throws {
            let memory = try SecretBuffer(capacity: capacity)
            var pair = try MessageChannel.pair()
            near = pair.takeFirst()
            far = pair.takeSecond()
            buffer = memory
        }
    }

    @Test("messages keep their bounds, and descriptors arrive with theirs, closed on exec")
    func roundTrip() throws {
        let link = try Link()
        link.buffer.fill([1, 2, 3])
        #expect(try link.near.send(link.buffer, count: 3, descriptors: [1, 2]) == .sent)
        link.buffer.fill([9])
        #expect(try link.near.send(link.buffer, count: 1) == .sent)
        link.buffer.wipe()

        guard case .message(let length, let descriptors) = try link.far.receive(into: &link.buffer) else {
            Issue.record("no message")
            return
        }
        #expect(length == 3 && link.buffer.bytes(3) == [1, 2, 3] && descriptors.count == 2)
        for _ in 0..<2 {
            guard let taken = descriptors.take() else {
                Issue.record("a descriptor is missing")
                return
            }
            #expect(fcntl(taken.number, F_GETFD) & FD_CLOEXEC != 0)
        }
        guard descriptors.take() == nil else {
            Issue.record("a third descriptor")
            return
        }
        guard case .message(let second, let none) = try link.far.receive(into: &link.buffer) else {
            Issue.record("no second message")
            return
        }
        #expect(second == 1 && link.buffer.bytes(1) == [9] && none.count == 0)
        guard case .wouldBlock = try link.far.receive(into: &link.buffer) else {
            Issue.record("a third message")
            return
        }
    }

    @Test("a message of the largest size passes whole, several in a row")
    func largest() throws {
        let link = try Link()
        let pattern = (0..<131_072).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        link.buffer.fill(pattern)
        #expect(try link.near.send(link.buffer, count: 131_072) == .sent)
        #expect(try link.near.send(link.buffer, count: 131_072) == .sent)
        link.buffer.wipe()
        guard case .message(let length, _) = try link.far.receive(into: &link.buffer) else {
            Issue.record("no message")
            return
        }
        #expect(length == 131_072 && link.buffer.bytes(131_072) == pattern)
    }

    @Test("a message too long for the buffer is an error, and its descriptors are closed")
    func truncated() throws {
        let link = try Link(capacity: 16)
        let directory = TemporaryDirectory()
        let path = directory.write([1], to: "marker")
        let marker = OwnedDescriptor(adopting: unsafe open(path, O_RDONLY | O_CLOEXEC))
        #expect(try link.near.send(link.buffer, count: 16, descriptors: [marker.number]) == .sent)
        var small = try SecretBuffer(capacity: 8)
        #expect(throws: SystemError("recvmsg", EMSGSIZE, "of more than 8 bytes")) {
            _ = try link.far.receive(into: &small)
        }
        #expect(openDescriptors(to: path) == 1)
    }

    @Test("more descriptors than allowed are an error, and all of them are closed", arguments: [9, 10, 40])
    func tooMany(count: Int) throws {
        let link = try Link(capacity: 16)
        let directory = TemporaryDirectory()
        let path = directory.write([1], to: "marker")
        let marker = OwnedDescriptor(adopting: unsafe open(path, O_RDONLY | O_CLOEXEC))
        let many = [Int32](repeating: marker.number, count: count)
        #expect(try link.near.send(link.buffer, count: 1, descriptors: many) == .sent)
        #expect(throws: SystemError.self) { _ = try link.far.receive(into: &link.buffer) }
        #expect(openDescriptors(to: path) == 1)
    }

    @Test("descriptors that nobody takes are closed")
    func untaken() throws {
        let link = try Link(capacity: 16)
        let directory = TemporaryDirectory()
        let path = directory.write([1], to: "marker")
        do {
            let marker = OwnedDescriptor(adopting: unsafe open(path, O_RDONLY | O_CLOEXEC))
            #expect(try link.near.send(link.buffer, count: 1, descriptors: [marker.number, marker.number]) == .sent)
        }
        guard case .message(_, let descriptors) = try link.far.receive(into: &link.buffer) else {
            Issue.record("no message")
            return
        }
        #expect(openDescriptors(to: path) == 2)
        descriptors.take()?.close()
        withExtendedLifetime(descriptors) { #expect(openDescriptors(to: path) == 1) }
    }

    @Test("a full queue would block, and blocking with a timeout ends")
    func full() throws {
        let link = try Link()
        var sent = 0
        while try link.near.send(link.buffer, count: 65_536) == .sent { sent += 1 }
        #expect(sent > 0)
        let start = Clock.monotonicNanoseconds()
        #expect(try link.near.send(link.buffer, count: 65_536, timeout: .milliseconds(50)) == .wouldBlock)
        #expect(Clock.monotonicNanoseconds() - start >= 50_000_000)
        guard case .message = try link.far.receive(into: &link.buffer) else {
            Issue.record("no message")
            return
        }
        #expect(try link.near.send(link.buffer, count: 65_536, timeout: .seconds(5)) == .sent)
    }

    @Test("waiting for a message that does not come ends at the timeout")
    func receiveTimeout() throws {
        let link = try Link(capacity: 16)
        guard case .wouldBlock = try link.near.receive(into: &link.buffer, timeout: .milliseconds(20)) else {
            Issue.record("a message")
            return
        }
    }

    @Test("an end that is gone is closed for both directions, after its last message")
    func closed() throws {
        var pair = try MessageChannel.pair()
        let near = pair.takeFirst()
        var buffer = try SecretBuffer(capacity: 16)
        do {
            let far = pair.takeSecond()
            #expect(try far.send(buffer, count: 1) == .sent)
        }
        #expect(try near.send(buffer, count: 1) == .closed)
        guard case .message(1, _) = try near.receive(into: &buffer) else {
            Issue.record("the last message is lost")
            return
        }
        guard case .closed = try near.receive(into: &buffer, timeout: .seconds(5)) else {
            Issue.record("not closed")
            return
        }
    }
}
