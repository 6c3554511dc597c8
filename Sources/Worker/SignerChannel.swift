internal import SigningWire
internal import System
internal import TLS
internal import Wire

/// The worker's end of the channel to the signer: one question, one answer. The broker replaces it when it replaces the
/// signer.
final class SignerChannel {
    private var channel: MessageChannel?
    private var buffer: SecretBuffer
    /// Why there is no channel.
    private var problem = "none has been started yet"

    /// How long the signer may take: a token may need a while, and several workers may ask at once. Everything else
    /// waits meanwhile.
    private static let patience = Duration.seconds(2)

    init() throws(SystemError) {
        buffer = try SecretBuffer(capacity: MessageLimit.signingAnswer)
    }

    /// Takes the channel to a new signer.
    func connect(_ socket: consuming OwnedDescriptor) {
        channel = MessageChannel(adopting: socket, descriptorLimit: 0)
    }

    /// Asks and waits. After a silence nothing more is asked until there is a new channel: an answer that comes late
    /// would be taken for the next one.
    func ask(_ question: SigningQuestion) -> SignerReply {
        guard channel != nil else { return .unreachable(problem) }
        do throws(Breakdown) {
            return .answer(try exchange(question))
        } catch {
            channel = nil
            problem = error.text
            return .unreachable(problem)
        }
    }

    private struct Breakdown: Error {
        let text: String
    }

    private func exchange(_ question: SigningQuestion) throws(Breakdown) -> SigningAnswer {
        let count = try Self.coding { () throws(WireError) in try buffer.write(question).length }
        let sent: MessageChannel.SendResult?
        let received: MessageChannel.Received?
        do throws(SystemError) {
            sent = try channel?.send(buffer, count: count, timeout: Self.patience)
            received = sent == .sent ? try channel?.receive(into: &buffer, timeout: Self.patience) : nil
        } catch {
            throw Breakdown(text: error.description)
        }
        switch (sent, received) {
        case (.sent, .message(let length, _)):
            return try Self.coding { () throws(WireError) in try buffer.read(first: length) }
        case (.wouldBlock, _), (.sent, .wouldBlock):
            throw Breakdown(text: "it was silent for \(Self.patience)")
        default: throw Breakdown(text: "it has ended")
        }
    }

    private static func coding<Value>(_ body: () throws(WireError) -> Value) throws(Breakdown) -> Value {
        do throws(WireError) {
            return try body()
        } catch {
            throw Breakdown(text: error.description)
        }
    }
}
