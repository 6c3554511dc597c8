package import System

/// Why a worker or the signer ends.
package enum ProcessEnd: Error, Sendable, Equatable {
    /// The broker closed a channel.
    case channelClosed
    /// The broker did what docs/broker-protocol.md does not permit.
    case violation(String)
    /// The system refused something that the process cannot do without.
    case systemFailure(String)

    /// EX_SOFTWARE and EX_OSERR of sysexits.h.
    var exitStatus: Int32 {
        switch self {
        case .channelClosed: 0
        case .violation: 70
        case .systemFailure: 71
        }
    }

    /// A line for stderr; `nil` where nothing is wrong.
    var complaint: String? {
        switch self {
        case .channelClosed: nil
        case .violation(let what): "the broker broke the protocol: \(what)"
        case .systemFailure(let what): what
        }
    }

    /// - Parameter purpose: what the call was for, where its own words do not tell.
    package init(_ error: SystemError, purpose: String? = nil) {
        self = .systemFailure((purpose.map { "\($0): " } ?? "") + error.description)
    }

    /// Runs what fails as a system call does, and without which the process cannot go on.
    package static func system<Value>(
        _ purpose: String? = nil, _ body: () throws(SystemError) -> Value
    ) throws(ProcessEnd) -> Value {
        do throws(SystemError) {
            return try body()
        } catch {
            throw ProcessEnd(error, purpose: purpose)
        }
    }
}

extension ProcessEnd: ChannelFailure {
    package init(_ fault: ChannelFault) {
        switch fault {
        case .gone: self = .channelClosed
        case .brokeProtocol(let what): self = .violation(what)
        case .unresponsive: self = .violation("the broker does not read")
        case .unsendable, .system: self = .systemFailure(fault.description)
        }
    }
}
