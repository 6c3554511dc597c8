internal import System
internal import TLS
internal import Wire

/// The worker's end of the key channel: one lookup at a time, answered at once.
final class KeyChannel {
    /// Error after which no further lookup is sent, because a late answer would be taken for the answer to the next
    /// lookup.
    private(set) var breakdown: ChannelFault?

    private let channel: ProcessChannel<KeyLookup, KeyAnswer>

    /// Timeout for the broker's answer. The broker waits for nothing itself.
    private static let patience = Duration.seconds(3)

    init(adopting socket: consuming OwnedDescriptor) throws(ChannelFault) {
        channel = try ProcessChannel(adopting: socket)
    }

    var number: Int32 { channel.number }

    /// Looks up the key of an identity and copies it to the start of `key`.
    func ask(job: UInt64, identity: [UInt8], into key: inout SecretBuffer) -> PSKLookup {
        if breakdown != nil { return .unusable("the key channel is broken") }
        do throws(ChannelFault) {
            return try exchange(KeyLookup(job: job, identity: identity), into: &key)
        } catch {
            breakdown = error
            return .unusable("the key channel is broken")
        }
    }

    private func exchange(_ question: KeyLookup, into key: inout SecretBuffer) throws(ChannelFault) -> PSKLookup {
        var finding = PSKLookup.unknown
        let isAnswered = try channel.ask(question, within: Self.patience) { answer, buffer in
            switch answer {
            case .key(let place):
                key.copy(place.range, of: buffer, to: 0)
                finding = .key(count: place.count)
            case .unknown: finding = .unknown
            case .unusable(let why): finding = .unusable(why)
            }
        }
        guard isAnswered else { throw .brokeProtocol("the broker does not answer a key lookup") }
        return finding
    }
}
