package import System

/// Reason why a worker or the signer exits.
package enum ProcessEnd: Error, Sendable, Equatable {
    /// The broker closed a channel.
    case channelClosed
    /// The broker violated docs/broker-protocol.md.
    case violation(String)
    /// A necessary system call failed.
    case systemFailure(String)

    /// EX_SOFTWARE and EX_OSERR of sysexits.h.
    var exitStatus: Int32 {
        switch self {
        case .channelClosed: 0
        case .violation: 70
        case .systemFailure: 71
        }
    }

    /// Error line for stderr; `nil` if the exit is regular.
    var complaint: String? {
        switch self {
        case .channelClosed: nil
        case .violation(let what): "the broker broke the protocol: \(what)"
        case .systemFailure(let what): what
        }
    }

    /// - Parameter purpose: purpose of the call, if its own description does not show it.
    package init(_ error: SystemError, purpose: String? = nil) {
        self = .systemFailure((purpose.map { "\($0): " } ?? "") + error.description)
    }

    /// Runs a system call without which the process cannot continue.
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

extension ProcessEnd {
    /// Runs a turn of an event loop, whose actions throw this error only.
    package static func turn(_ loop: EventLoop) throws(ProcessEnd) {
        do {
            try loop.turn()
        } catch let end as ProcessEnd {
            throw end
        } catch {
            throw .systemFailure("\(error)")
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
