/// The state of one end of a channel: checks each message that arrives against the permit table of its sender.
///
/// A message that is not permitted is not parsed.
package struct Conversation<Received: ChannelMessage>: Sendable {
    package private(set) var state: Received.State
    private var seen: Set<Received.Kind> = []
    /// Messages that were sent and are not answered, oldest first.
    private var unanswered: [Question] = []

    /// Kinds of messages to which the table permits an answer.
    private let questions: Set<Received.Opposite.Kind>

    private struct Question: Sendable {
        let kind: Received.Opposite.Kind
        let reference: MessageReference
        /// Notices that have arrived about it.
        var noticed: Set<Received.Kind> = []
    }

    package init(in state: Received.State = Received.firstState) {
        self.state = state
        questions = Received.permits.reduce(into: []) { kinds, permit in
            switch permit.occurrence {
            case .any, .once: break
            case .answer(let answered, _), .notice(let answered): kinds.formUnion(answered)
            }
        }
    }

    /// Notes a message that this end has sent.
    package mutating func note(sent message: Received.Opposite) {
        guard questions.contains(message.kind) else { return }
        unanswered.append(Question(kind: message.kind, reference: message.reference))
    }

    /// The oldest message of this kind that was sent and is not answered; `nil` if there is none.
    package func oldestUnanswered(_ kind: Received.Opposite.Kind) -> MessageReference? {
        unanswered.first { $0.kind == kind }?.reference
    }

    /// Reads the message in the first `length` bytes, which came with that many descriptors.
    ///
    /// - Throws: what is not permitted.
    package mutating func receive(
        _ bytes: inout MutableSpan<UInt8>, length: Int, descriptors: Int
    ) throws(ChannelFault) -> Received {
        let permit = try permit(bytes, length: length)
        guard permit.states.contains(state) else {
            throw .brokeProtocol("\(permit.kind) is not permitted in the state \"\(state.rawValue)\"")
        }
        guard length <= permit.limit else {
            throw .brokeProtocol("\(permit.kind) has \(length) bytes, more than \(permit.limit)")
        }
        guard permit.occurrence != .once || seen.insert(permit.kind).inserted else {
            throw .brokeProtocol("\(permit.kind) came twice")
        }
        let message: Received
        do throws(WireError) {
            message = try Received(from: &bytes, length: length)
        } catch {
            throw .brokeProtocol("\(permit.kind): \(error)")
        }
        let wanted = permit.descriptors.count(with: message)
        guard descriptors == wanted, wanted <= permit.descriptors.limit else {
            throw .brokeProtocol("\(permit.kind) came with \(descriptors) descriptors instead of \(wanted)")
        }
        try match(message, permit)
        state = permit.next ?? state
        return message
    }

    private func permit(
        _ bytes: borrowing MutableSpan<UInt8>, length: Int
    ) throws(ChannelFault) -> Permit<Received> {
        guard length > 0, let kind = Received.kind(firstByte: bytes[0]) else {
            throw .brokeProtocol("\(Received.title) of the unknown kind \(length > 0 ? bytes[0] : 0)")
        }
        guard let permit = Received.permit(for: kind) else {
            throw .brokeProtocol("\(kind) is never permitted")
        }
        return permit
    }

    /// Finds the message that this one answers, or is about.
    private mutating func match(_ message: Received, _ permit: Permit<Received>) throws(ChannelFault) {
        switch permit.occurrence {
        case .any, .once: return
        case .answer(let kinds, let inOrder):
            let place = unanswered.firstIndex {
                kinds.contains($0.kind) && (inOrder || $0.reference == message.reference)
            }
            guard let place, unanswered[place].reference == message.reference else {
                throw .brokeProtocol("\(permit.kind) answers nothing that was sent")
            }
            unanswered.remove(at: place)
        case .notice(let kinds):
            let place = unanswered.firstIndex { kinds.contains($0.kind) && $0.reference == message.reference }
            guard let place else { throw .brokeProtocol("\(permit.kind) is about nothing that was sent") }
            guard unanswered[place].noticed.insert(permit.kind).inserted else {
                throw .brokeProtocol("\(permit.kind) came twice")
            }
        }
    }
}

/// The reason why a channel cannot be used any longer.
package enum ChannelFault: Error, Sendable, Equatable, CustomStringConvertible {
    /// The other process does not read.
    case unresponsive
    /// The other process has closed the channel.
    case gone
    /// The other process sent what is not permitted. The message, and the state or what else is wrong.
    case brokeProtocol(String)
    /// A message exceeds a limit. The other process is not at fault, and the channel goes on without the message.
    case unsendable(WireError)
    /// A system call failed, of the channel or one without which its user cannot continue.
    case failed(String)

    package var description: String {
        switch self {
        case .unresponsive: "it has stopped reading"
        case .gone: "it has closed its channel"
        case .brokeProtocol(let what): "it broke the protocol: \(what)"
        case .unsendable(let error): "message too large: \(error)"
        case .failed(let what): what
        }
    }
}
