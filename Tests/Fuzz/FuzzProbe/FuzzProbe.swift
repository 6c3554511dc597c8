import InspectWire

/// What tlshctl reads: an RPC server's answer, chosen by a stranger.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzProbe(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    // libFuzzer's memory, valid during this call.
    let bytes = unsafe UnsafeBufferPointer(start: start, count: count)
    let span = unsafe bytes.span
    if let answer = try? RPCTLSAnswer(from: span, transaction: 0x1234_5678) {
        precondition(answer != .startTLS || count >= 32)
    }
    if let mark = try? RPCTLSProbe.RecordMark(from: span) { precondition(mark.length < 1 << 31) }
    return 0
}
