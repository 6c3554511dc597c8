import Control

/// What is asked over the control socket: whatever is taken is the one way to write it.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzControl(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    // libFuzzer's memory, valid during this call.
    let bytes = unsafe Array(UnsafeBufferPointer(start: start, count: count))
    if let request = try? ControlRequest(parsing: bytes) {
        precondition(Array(request.line.utf8) == bytes)
        precondition(bytes.count <= ControlRequest.limit)
    }
    return 0
}
