/// Why a worker process ends.
package enum WorkerEnd: Error, Sendable, Equatable {
    /// The broker closed the control channel.
    case channelClosed
    /// The broker did what docs/broker-protocol.md does not permit.
    case violation(String)
    /// The system refused something that the worker cannot do without.
    case systemFailure(String)

    /// EX_SOFTWARE and EX_OSERR of sysexits.h.
    package var exitStatus: Int32 {
        switch self {
        case .channelClosed: 0
        case .violation: 70
        case .systemFailure: 71
        }
    }

    /// A line for stderr; `nil` where nothing is wrong.
    package var complaint: String? {
        switch self {
        case .channelClosed: nil
        case .violation(let what): "the broker broke the protocol: \(what)"
        case .systemFailure(let what): what
        }
    }
}
