import Wire

/// A message between broker and worker: the first byte chooses the reader. What is read must be written and read again
/// as the same.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzMessages(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    guard count > 0 else { return 0 }
    // libFuzzer's memory, valid during this call.
    let bytes = unsafe UnsafeBufferPointer(start: start, count: count)
    let rest = unsafe bytes.span.extracting(1..<count)
    switch unsafe bytes[0] & 7 {
    case 0: rewriteBrokerMessage(rest)
    case 1: rewriteWorkerMessage(rest)
    case 2: rewriteLookup(rest)
    case 3: rewriteAnswer(rest)
    case 4: rewriteOrder(rest)
    case 5: rewriteReport(rest)
    case 6: rewriteQuestion(rest)
    default: rewriteSigningAnswer(rest)
    }
    return 0
}

private func rewriteBrokerMessage(_ bytes: Span<UInt8>) {
    guard let message = try? BrokerMessage(from: bytes) else { return }
    precondition(message.descriptorCount <= MessageLimit.descriptors)
    rewrite(bytes.count) { (span) throws(WireError) in
        try message.encode(to: &span).length
    } andReadsTheSame: { (again) throws(WireError) in
        try BrokerMessage(from: again) == message
    }
}

private func rewriteWorkerMessage(_ bytes: Span<UInt8>) {
    guard let message = try? WorkerMessage(from: bytes) else { return }
    rewrite(bytes.count) { (span) throws(WireError) in
        try message.encode(to: &span)
    } andReadsTheSame: { (again) throws(WireError) in
        try WorkerMessage(from: again) == message
    }
}

private func rewriteLookup(_ bytes: Span<UInt8>) {
    guard let message = try? KeyLookup(from: bytes) else { return }
    precondition(!message.identity.isEmpty && !message.identity.contains(0))
    rewrite(bytes.count) { (span) throws(WireError) in
        try message.encode(to: &span)
    } andReadsTheSame: { (again) throws(WireError) in
        try KeyLookup(from: again) == message
    }
}

private func rewriteAnswer(_ bytes: Span<UInt8>) {
    guard let message = try? KeyAnswer(from: bytes) else { return }
    if case .key(let secret) = message { precondition(secret.range.upperBound <= bytes.count) }
    rewrite(bytes.count) { (span) throws(WireError) in
        try message.encode(to: &span).length
    } andReadsTheSame: { (again) throws(WireError) in
        try KeyAnswer(from: again) == message
    }
}

private func rewriteOrder(_ bytes: Span<UInt8>) {
    guard let message = try? SignerOrder(from: bytes) else { return }
    precondition(message.descriptorCount <= MessageLimit.signerParts)
    if case .hold(_, _, let key) = message { precondition(key.range.upperBound <= bytes.count) }
    rewrite(bytes.count) { (span) throws(WireError) in
        try message.encode(to: &span).length
    } andReadsTheSame: { (again) throws(WireError) in
        try SignerOrder(from: again) == message
    }
}

private func rewriteReport(_ bytes: Span<UInt8>) {
    guard let message = try? SignerReport(from: bytes) else { return }
    rewrite(bytes.count) { (span) throws(WireError) in
        try message.encode(to: &span)
    } andReadsTheSame: { (again) throws(WireError) in
        try SignerReport(from: again) == message
    }
}

private func rewriteQuestion(_ bytes: Span<UInt8>) {
    guard let message = try? SigningQuestion(from: bytes) else { return }
    if case .sign(let request) = message { precondition(request.content.count == 98 + request.digest.count) }
    rewrite(bytes.count) { (span) throws(WireError) in
        try message.encode(to: &span)
    } andReadsTheSame: { (again) throws(WireError) in
        try SigningQuestion(from: again) == message
    }
}

private func rewriteSigningAnswer(_ bytes: Span<UInt8>) {
    guard let message = try? SigningAnswer(from: bytes) else { return }
    rewrite(bytes.count) { (span) throws(WireError) in
        try message.encode(to: &span)
    } andReadsTheSame: { (again) throws(WireError) in
        try SigningAnswer(from: again) == message
    }
}

/// Writing what was read takes exactly as many bytes, and never fails.
private func rewrite(
    _ count: Int, _ write: (inout MutableSpan<UInt8>) throws(WireError) -> Int,
    andReadsTheSame read: (Span<UInt8>) throws(WireError) -> Bool
) {
    var bytes = [UInt8](repeating: 0, count: count)
    do throws(WireError) {
        var span = bytes.mutableSpan
        let length = try write(&span)
        let isSame = try read(bytes.span)
        precondition(length == count && isSame)
    } catch {
        preconditionFailure("a message that was read cannot be rewritten: \(error.description)")
    }
}
