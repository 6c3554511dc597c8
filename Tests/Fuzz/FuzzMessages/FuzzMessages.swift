import SigningWire
import Wire

/// A message between our processes: the first byte chooses the reader. What is read must be written and read again
/// as the same.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzMessages(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    guard count > 0 else { return 0 }
    // libFuzzer's memory, valid during this call.
    let bytes = unsafe UnsafeBufferPointer(start: start, count: count)
    let rest = unsafe bytes.span.extracting(1..<count)
    switch unsafe bytes[0] & 7 {
    case 0: rewrite(rest) { (message: BrokerMessage) in message.fileCount <= MessageLimit.descriptors }
    case 1: rewrite(rest) { (_: WorkerMessage) in true }
    case 2: rewrite(rest) { (lookup: KeyLookup) in !lookup.identity.isEmpty && !lookup.identity.contains(0) }
    case 3:
        rewrite(rest) { (answer: KeyAnswer) in
            if case .key(let key) = answer { key.range.upperBound <= rest.count } else { true }
        }
    case 4:
        rewrite(rest) { (order: SignerOrder) in
            guard order.fileCount <= MessageLimit.signerParts else { return false }
            return if case .permit(let permit) = order { permit.key.range.upperBound <= rest.count } else { true }
        }
    case 5: rewrite(rest) { (_: SignerReport) in true }
    case 6:
        rewrite(rest) { (question: SigningQuestion) in
            if case .sign(let request) = question { request.content.count == 98 + request.digest.count } else { true }
        }
    default: rewrite(rest) { (_: SigningAnswer) in true }
    }
    return 0
}

/// Writing what was read takes exactly as many bytes, never fails, and makes the same message.
private func rewrite<Message: ChannelMessage>(_ bytes: Span<UInt8>, isSound: (Message) -> Bool) {
    var copy = bytes.indices.map { bytes[$0] }
    var span = copy.mutableSpan
    guard let message = try? Message(from: &span, length: bytes.count) else { return }
    precondition(isSound(message))
    var again = [UInt8](repeating: 0, count: bytes.count)
    do throws(WireError) {
        var span = again.mutableSpan
        let length = try message.encode(to: &span).length
        let isSame = try Message(from: &span, length: length) == message
        precondition(length == bytes.count && isSame)
    } catch {
        preconditionFailure("a message that was read cannot be rewritten: \(error.description)")
    }
}
