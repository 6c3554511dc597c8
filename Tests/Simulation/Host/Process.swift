internal import Broker
internal import Glibc
internal import Handshake
internal import System
internal import Unconfined
internal import Wire

/// A simulated process that the broker has started.
class MadeUpProcess: StartedProgram {
    let identifier: Int32
    unowned let world: World
    private let pidfd: Bell
    /// Exit status; `nil` while it runs.
    private(set) var end: ChildProcess.End?
    /// True once it is reaped.
    private(set) var isReaped = false
    /// A hung process reads and does nothing.
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

    /// Closes all descriptors of the process.
    func release() { control = nil }

    /// Performs one step.
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

    /// The next message of a channel as its length and descriptors; `nil` if there is none or the other end is closed.
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

/// Message buffer, shared by all simulated processes.
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
