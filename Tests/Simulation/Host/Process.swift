internal import Broker
internal import Glibc
internal import Handshake
internal import System
internal import Unconfined
internal import Wire

/// A made-up process that the broker has started.
class MadeUpProcess: StartedProgram {
    let identifier: Int32
    unowned let world: World
    private let pidfd: Bell
    /// How it has ended; `nil` while it runs.
    private(set) var end: ChildProcess.End?
    /// Its end was waited for.
    private(set) var isReaped = false
    /// It reads nothing and does nothing.
    var hangs = false
    var control: MessageChannel?

    init(_ world: World, _ identifier: Int32, control: consuming MessageChannel) throws(SystemError) {
        self.world = world
        self.identifier = identifier
        self.control = consume control
        pidfd = try Bell()
    }

    var label: String { "process \(identifier)" }
    var number: Int32 { pidfd.number }

    func signal(_ number: Int32) throws(SystemError) {
        if number == SIGKILL { die(.killed(signal: SIGKILL)) }
    }

    func reapIfEnded() throws(SystemError) -> ChildProcess.End? {
        if end != nil { isReaped = true }
        return end
    }

    func die(_ how: ChildProcess.End) {
        guard end == nil else { return }
        world.note("\(label) \(how.description)")
        end = how
        release()
        pidfd.ring()
    }

    /// Closes what the process has open.
    func release() { control = nil }

    /// Does something, one step.
    func act() {}

    /// Sends raw bytes on a channel.
    func send(_ count: Int, over channel: borrowing MessageChannel, descriptors: [Int32] = []) {
        do throws(SystemError) {
            if try channel.send(world.scratch.buffer, count: count, descriptors: descriptors) == .closed {
                die(.exited(status: 0))
            }
        } catch {
            world.fail("\(label): \(error.description)")
        }
    }

    /// The next message of a channel as a length and its descriptors; `nil` when there is none, or the other end has
    /// closed it.
    func receive(from channel: borrowing MessageChannel) -> (length: Int, descriptors: ReceivedDescriptors)? {
        do throws(SystemError) {
            switch try channel.receive(into: &world.scratch.buffer) {
            case .message(let length, let descriptors): return (length, descriptors)
            case .wouldBlock: return nil
            case .closed:
                die(.exited(status: 0))
                return nil
            }
        } catch {
            world.fail("\(label): \(error.description)")
            return nil
        }
    }
}

/// Memory for messages, which all made-up processes share.
final class Scratch {
    var buffer: SecretBuffer

    init() throws(SystemError) { buffer = try SecretBuffer(capacity: MessageLimit.message) }

    func contains(_ bytes: [UInt8], first length: Int) -> Bool {
        buffer.withSpan(first: length) { span in
            guard let first = bytes.first, span.count >= bytes.count else { return false }
            for start in 0...(span.count - bytes.count) where span[start] == first {
                if bytes.indices.allSatisfy({ span[start + $0] == bytes[$0] }) { return true }
            }
            return false
        }
    }

    func put(_ bytes: [UInt8]) {
        buffer.withMutableSpan { span in for (index, byte) in bytes.enumerated() { span[index] = byte } }
    }
}
