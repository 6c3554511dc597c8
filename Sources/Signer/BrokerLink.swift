internal import System
internal import Wire

/// The signer's end of the channel to the broker.
final class BrokerLink {
    private let channel: MessageChannel
    private var incoming: SecretBuffer
    private var outgoing: SecretBuffer

    /// How long the broker may leave the channel full; it reads whenever there is something.
    private static let patience = Duration.seconds(3)

    init(adopting socket: consuming OwnedDescriptor) throws(SystemError) {
        channel = MessageChannel(adopting: socket, descriptorLimit: MessageLimit.signerParts)
        incoming = try SecretBuffer(capacity: MessageLimit.message)
        outgoing = try SecretBuffer(capacity: MessageLimit.message)
    }

    var number: Int32 { channel.number }

    /// Receives one order and shows it, with the buffer that its secrets lie in, which is wiped afterwards.
    ///
    /// - Returns: `false` when there was none.
    func receive(
        _ body: (SignerOrder, ReceivedDescriptors, borrowing SecretBuffer) throws(SignerEnd) -> Void
    ) throws(SignerEnd) -> Bool {
        let received = try SignerEnd.system { () throws(SystemError) in try channel.receive(into: &incoming) }
        switch received {
        case .closed: throw .channelClosed
        case .wouldBlock: return false
        case .message(let length, let descriptors):
            defer { incoming.wipe(first: length) }
            let order: SignerOrder
            do throws(WireError) {
                order = try incoming.withSpan(first: length) { (bytes) throws(WireError) in
                    try SignerOrder(from: bytes)
                }
            } catch {
                throw .violation(error.description)
            }
            guard descriptors.count == order.descriptorCount else {
                throw .violation("\(descriptors.count) descriptors came instead of \(order.descriptorCount)")
            }
            try body(order, descriptors, incoming)
            return true
        }
    }

    func send(_ report: SignerReport) throws(SignerEnd) {
        let count: Int
        do throws(WireError) {
            count = try outgoing.withMutableSpan { (bytes) throws(WireError) in try report.encode(to: &bytes) }
        } catch {
            throw .systemFailure("report: \(error.description)")
        }
        let result = try SignerEnd.system { () throws(SystemError) in
            try channel.send(outgoing, count: count, timeout: Self.patience)
        }
        guard result == .sent else { throw .channelClosed }
    }
}

/// Why the signer ends.
package enum SignerEnd: Error, Sendable, Equatable {
    /// The broker closed the channel.
    case channelClosed
    /// The broker did what docs/broker-protocol.md does not permit.
    case violation(String)
    /// The system refused something that the signer cannot do without.
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

    static func system<Value>(_ body: () throws(SystemError) -> Value) throws(SignerEnd) -> Value {
        do throws(SystemError) {
            return try body()
        } catch {
            throw .systemFailure(error.description)
        }
    }
}
