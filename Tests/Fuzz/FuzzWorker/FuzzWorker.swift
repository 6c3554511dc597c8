import Stranger

nonisolated(unsafe) private let meeting: Meeting = {
    do {
        return try Meeting()
    } catch {
        fatalError("\(error)")
    }
}()

/// A peer of a worker's, from its first byte to what follows the handshake, in either role.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzWorker(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    // libFuzzer's memory, valid during this call.
    unsafe meeting.run(UnsafeBufferPointer(start: start, count: count))
    return 0
}
