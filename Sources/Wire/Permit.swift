package import Handshake

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
