internal import Confined
internal import SigningWire
internal import System
internal import Wire

/// The channel to one worker: questions in, answers out, one for each.
final class WorkerLink {
    private let channel: MessageChannel
    private var buffer: SecretBuffer
    /// Watches the channel.
    var source: EventLoop<ProcessEnd>.Source?

    enum Arrival {
        case none
        case closed
        case question(SigningQuestion)
        /// What is not permitted.
        case violation(String)
    }

    init(adopting socket: consuming OwnedDescriptor) throws(SystemError) {
        channel = MessageChannel(adopting: socket, descriptorLimit: 0)
        buffer = try SecretBuffer(capacity: MessageLimit.signingAnswer)
    }

    var number: Int32 { channel.number }

    func receive() -> Arrival {
        let received: MessageChannel.Received
        do throws(SystemError) {
            received = try channel.receive(into: &buffer)
        } catch {
            // Too long, or with descriptors.
            return .violation(error.description)
        }
        switch received {
        case .wouldBlock: return .none
        case .closed: return .closed
        case .message(let length, _):
            guard length <= MessageLimit.signingQuestion else { return .violation("a question of \(length) bytes") }
            do throws(WireError) {
                return .question(try buffer.read(first: length))
            } catch {
                return .violation(error.description)
            }
        }
    }

    /// Sends an answer; `false` when nobody takes it: who asks waits for the answer, so there is always room.
    func send(_ answer: SigningAnswer) -> Bool {
        do {
            return try channel.send(buffer, count: buffer.write(answer).length) == .sent
        } catch {
            return false
        }
    }
}
