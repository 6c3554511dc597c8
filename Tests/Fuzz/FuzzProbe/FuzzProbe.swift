import InspectWire

/// What tlshctl reads: an RPC server's answer, chosen by a stranger, and a key in interchange form.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzProbe(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    // libFuzzer's memory, valid during this call.
    let bytes = unsafe UnsafeBufferPointer(start: start, count: count)
    let span = unsafe bytes.span
    if let answer = try? RPCTLSAnswer(from: span, transaction: 0x1234_5678) {
        precondition(answer != .startTLS || count >= 32)
    }
    if let mark = try? RPCTLSProbe.RecordMark(from: span) { precondition(mark.length < 1 << 31) }
    checkKey(span)
    return 0
}

/// A key that is read is written again as the very same text.
private func checkKey(_ span: Span<UInt8>) {
    var key = [UInt8](repeating: 0, count: 52)
    var room = key.mutableSpan
    guard let decoded = try? NVMeInterchangeKey.decode(span, into: &room) else {
        precondition(key.allSatisfy { $0 == 0 })
        return
    }
    var text = [UInt8](repeating: 0, count: NVMeInterchangeKey.textLimit)
    var target = text.mutableSpan
    let payload = Array(key.prefix(decoded.length))
    let written = try? NVMeInterchangeKey.encode(payload.span, transform: decoded.transform, into: &target)
    precondition(written == span.count && text.prefix(span.count).elementsEqual(span.indices.map { span[$0] }))
}
