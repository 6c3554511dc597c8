internal import SigningWire
internal import System
internal import TLS
internal import Wire

/// The worker's end of the channel to the signer: one question, one answer. The broker replaces it when it replaces the
/// signer.
final class SignerChannel {
    private var channel: ProcessChannel<SigningQuestion, SigningAnswer, ChannelFault>?
    /// Why there is no channel.
    private var problem = "none has been started yet"

    /// How long the signer may take: a token may need a while, and several workers may ask at once. Everything else
    /// waits meanwhile.
    private static let patience = Duration.seconds(2)

    /// Takes the channel to a new signer.
    func connect(_ socket: consuming OwnedDescriptor) throws(SystemError) {
        channel = try ProcessChannel(adopting: socket)
    }

    /// Asks and waits. After a silence nothing more is asked until there is a new channel: an answer that comes late
    /// would be taken for the next one.
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
