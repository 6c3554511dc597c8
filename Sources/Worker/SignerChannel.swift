internal import SigningWire
internal import System
internal import TLS
internal import Wire

/// The worker's end of the channel to the signer: one question at a time. The broker replaces it together with the
/// signer.
final class SignerChannel {
    private var channel: ProcessChannel<SigningQuestion, SigningAnswer>?
    /// Reason why there is no channel.
    private var problem = "none has been started yet"

    /// Timeout for the signer's answer. A token may be slow, and several workers may ask at the same time. The worker
    /// does nothing else meanwhile.
    private static let patience = Duration.seconds(2)

    /// Takes the channel to a new signer.
    func connect(_ socket: consuming OwnedDescriptor) throws(ChannelFault) {
        channel = try ProcessChannel(adopting: socket)
    }

    /// Sends a question and waits for the answer. After a timeout no question is sent until there is a new channel,
    /// because a late answer would be taken for the answer to the next question.
    func ask(_ question: SigningQuestion) -> SignerReply {
        guard let channel else { return .unreachable(problem) }
        var reply: SigningAnswer?
        do throws(ChannelFault) {
            _ = try channel.ask(question, within: Self.patience) { answer, _ in reply = answer }
            problem = "it was silent for \(Self.patience)"
        } catch .gone {
            problem = "it has ended"
        } catch {
            problem = error.description
        }
        if let reply { return .answer(reply) }
        self.channel = nil
        return .unreachable(problem)
    }
}
