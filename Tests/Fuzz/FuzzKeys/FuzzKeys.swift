import Wire

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
        precondition(hash == identity.hash && rewritten(identity) == copy)
    } else {
        precondition(hash == .sha384)
    }
    return 0
}

/// An identity has one spelling only.
private func rewritten(_ identity: NVMeIdentity) -> [UInt8] {
    let origin = identity.origin == .retained ? "R" : "G"
    let head = "NVMe\(identity.version)\(origin)0\(identity.hash.rawValue)"
    let words = [head, identity.hostName, identity.subsystemName] + (identity.digest.map { [$0] } ?? [])
    return Array(words.joined(separator: " ").utf8)
}
