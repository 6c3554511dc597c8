package import Handshake

/// The state of one end of a channel: checks each message that arrives against the permit table of its sender.
///
/// A message of an unknown kind, or that its size or the state does not permit, is not parsed.
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

/// A message of a channel between our processes; docs/broker-protocol.md. The first byte is the kind.
package protocol ChannelMessage: MessageFields, Sendable, Equatable {
    associatedtype Kind: RawRepresentable<UInt8>, CaseIterable, Sendable, Hashable
    /// State of the receiver.
    associatedtype State: RawRepresentable<String>, CaseIterable, Sendable, Hashable
    /// Messages in the other direction of the same channel.
    associatedtype Opposite: ChannelMessage

    /// Name for errors.
    static var title: String { get }
    static var firstState: State { get }
    /// The permit table: one row for each kind.
    static var permits: [Permit<Self>] { get }
    /// The kind by the first byte; `nil` if it is unknown.
    static func kind(firstByte: UInt8) -> Kind?
    var kind: Kind { get }
    /// A blank message, whose fields are to be read.
    init(_ kind: Kind)
    /// Writes or reads the fields after the kind.
    mutating func codeFields(_ coder: inout MessageCoder, in bytes: inout MutableSpan<UInt8>) throws(WireError)
    /// The handshake or credentials that the message is about.
    var reference: MessageReference { get }
    /// Number of files that the message lists, each of which comes as a descriptor.
    var fileCount: Int { get }
}

extension ChannelMessage {
    package mutating func code(_ coder: inout MessageCoder, in bytes: inout MutableSpan<UInt8>) throws(WireError) {
        var kind = kind
        try coder.choice("kind of \(Self.title)", &kind, in: &bytes)
        if coder.isReading { self = Self(kind) }
        try codeFields(&coder, in: &bytes)
    }

    package static func kind(firstByte: UInt8) -> Kind? { Kind(rawValue: firstByte) }

    package var reference: MessageReference { .none }
    package var fileCount: Int { 0 }

    /// Number of descriptors that must come with the message.
    package var descriptorCount: Int { Self.permit(for: kind)?.descriptors.count(with: self) ?? 0 }

    /// The row of a kind; `nil` if it is never permitted.
    static func permit(for kind: Kind) -> Permit<Self>? { permits.first { $0.kind == kind } }

    /// A message into which one is read; its kind does not matter.
    static var blank: Self { Self(permits[0].kind) }

    /// Writes the message.
    ///
    /// - Returns: its length, and the message with the places to which the caller must copy the secrets.
    package func encode(to bytes: inout MutableSpan<UInt8>) throws(WireError) -> (length: Int, placed: Self) {
        var coder = MessageCoder.writing(Self.title, limit: bytes.count)
        var placed = self
        try placed.code(&coder, in: &bytes)
        return (coder.offset, placed)
    }

    /// Reads a message, which must be exactly the first `length` bytes.
    package init(from bytes: inout MutableSpan<UInt8>, length: Int) throws(WireError) {
        precondition(length <= bytes.count)
        var coder = MessageCoder.reading(Self.title, length: length)
        self = .blank
        try code(&coder, in: &bytes)
        try coder.finish()
    }
}

/// One row of a permit table: when a process may send a message, as the receiver checks it.
package struct Permit<Message: ChannelMessage>: Sendable {
    package let kind: Message.Kind
    /// States of the receiver in which it takes the message.
    package let states: [Message.State]
    /// State of the receiver from then on; `nil` for no change.
    package let next: Message.State?
    package let descriptors: DescriptorCount
    /// Size of the message in bytes.
    package let limit: Int
    package let occurrence: Occurrence

    /// Number of descriptors with a message.
    package enum DescriptorCount: Sendable, Equatable {
        case exactly(Int)
        /// One for each file that the message lists, at most this many.
        case onePerFile(limit: Int)

        package var limit: Int {
            switch self {
            case .exactly(let count): count
            case .onePerFile(let limit): limit
            }
        }

        func count(with message: Message) -> Int {
            switch self {
            case .exactly(let count): count
            case .onePerFile: message.fileCount
            }
        }
    }

    /// Number of times that a message is permitted.
    package enum Occurrence: Sendable, Equatable {
        case any
        /// Once in the life of the channel.
        case once
        /// Once for each message of these kinds that was sent and is not answered. With `inOrder` it answers the oldest
        /// one; otherwise the one with its reference.
        case answer([Message.Opposite.Kind], inOrder: Bool)
        /// At most once for each message of these kinds that was sent and is not answered.
        case notice([Message.Opposite.Kind])
    }

    package init(
        _ kind: Message.Kind, in states: [Message.State], then next: Message.State? = nil,
        descriptors: DescriptorCount = .exactly(0), limit: Int = MessageLimit.message, _ occurrence: Occurrence = .any
    ) {
        self.kind = kind
        self.states = states
        self.next = next
        self.descriptors = descriptors
        self.limit = limit
        self.occurrence = occurrence
    }
}

/// Identifies what a message is about, so that an answer can be matched.
package enum MessageReference: Sendable, Hashable {
    case none
    case job(UInt64)
    case credentials(CredentialsOwner, generation: UInt32)
}

/// State of a worker or of the signer, as it receives the broker's messages.
package enum ConfinedState: String, Sendable, CaseIterable {
    case beforeSetUp = "before setUp"
    case serving
}

/// State of a worker or of the signer, as the broker receives its messages.
package enum ProcessState: String, Sendable, CaseIterable {
    /// It has not sent `ready`.
    case starting
    case ready
}

/// State of a channel on which the same is permitted always.
package enum OpenState: String, Sendable, CaseIterable {
    case open
}
