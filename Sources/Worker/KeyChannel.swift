internal import System
internal import TLS
internal import Wire

/// The worker's end of the key channel: one question, one answer, at once.
final class KeyChannel {
    /// Why no further question can be asked; an answer that comes late would be taken for the next one.
    private(set) var breakdown: WorkerEnd?

    private let channel: MessageChannel
    private var buffer: SecretBuffer

    /// How long the broker may take; it has nothing to wait for itself.
    private static let patience = Duration.seconds(3)

    init(adopting socket: consuming OwnedDescriptor) throws(SystemError) {
        channel = MessageChannel(adopting: socket, descriptorLimit: 0)
        buffer = try SecretBuffer(capacity: MessageLimit.message)
    }

    /// Asks for the key of an identity and copies it to the start of `key`.
    func ask(job: UInt64, identity: [UInt8], into key: inout SecretBuffer) -> PSKFinding {
        if breakdown != nil { return .unusable("the key channel is broken") }
        do throws(WorkerEnd) {
            try send(KeyLookup(job: job, identity: identity))
            return try receive(into: &key)
        } catch {
            breakdown = error
            return .unusable("the key channel is broken")
        }
    }

    private func send(_ question: KeyLookup) throws(WorkerEnd) {
        let count: Int
        do throws(WireError) {
            count = try buffer.withMutableSpan { (bytes) throws(WireError) in try question.encode(to: &bytes) }
        } catch {
            throw .systemFailure("key channel: \(error.description)")
        }
        let result: MessageChannel.SendResult
        do throws(SystemError) {
            result = try channel.send(buffer, count: count, timeout: Self.patience)
        } catch {
            throw .systemFailure("key channel: \(error.description)")
        }
        switch result {
        case .sent: return
        case .wouldBlock: throw .violation("key channel: the broker takes no question")
        case .closed: throw .channelClosed
        }
    }

    private func receive(into key: inout SecretBuffer) throws(WorkerEnd) -> PSKFinding {
        let received: MessageChannel.Received
        do throws(SystemError) {
            received = try channel.receive(into: &buffer, timeout: Self.patience)
        } catch {
            throw .violation("key channel: \(error.description)")
        }
        switch received {
        case .closed: throw .channelClosed
        case .wouldBlock: throw .violation("key channel: the broker does not answer")
        case .message(let length, _):
            defer { buffer.wipe(first: length) }
            return try read(length, into: &key)
        }
    }

    private func read(_ length: Int, into key: inout SecretBuffer) throws(WorkerEnd) -> PSKFinding {
        let answer: KeyAnswer
        do throws(WireError) {
            answer = try buffer.withSpan(first: length) { (bytes) throws(WireError) in try KeyAnswer(from: bytes) }
        } catch {
            throw .violation("key channel: \(error.description)")
        }
        switch answer {
        case .key(let place):
            key.copy(place.range, of: buffer, to: 0)
            return .key(count: place.count)
        case .unknown: return .unknown
        case .unusable(let why): return .unusable(why)
        }
    }
}
