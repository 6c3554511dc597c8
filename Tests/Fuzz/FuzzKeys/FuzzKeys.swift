import KernelWire
import TLSWire

/// What a key is called: the kernel's description of it, and an NVMe identity, which a stranger may choose.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzKeys(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    // libFuzzer's memory, valid during this call.
    let bytes = unsafe UnsafeBufferPointer(start: start, count: count)
    let span = unsafe bytes.span
    if let about = try? KeyDescription(from: span) {
        precondition(!about.description.contains(0) && about.description.count < count)
    }
    let copy = span.indices.map { span[$0] }
    let hash = PSKHash.of(identity: copy, keyLength: 48)
    if let identity = try? NVMeIdentity(from: span) {
        // An identity has one spelling only.
        precondition(hash == identity.hash && Array(identity.text.utf8) == copy)
    } else {
        precondition(hash == .sha384)
    }
    return 0
}
