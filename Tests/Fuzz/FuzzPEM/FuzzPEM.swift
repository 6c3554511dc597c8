import Policy
import TLSWire
import Wire

/// What workers get of a file of certificates. An odd first byte lets the rest be a revocation list in DER.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzPEM(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    // libFuzzer's memory, valid during this call.
    let input = unsafe [UInt8](UnsafeBufferPointer(start: start, count: count))
    guard let selector = input.first else { return 0 }
    let file = Array(input.dropFirst())
    _ = IssuingDistributionPoint(der: file.span)
    var content = PublicPEM()
    content.add(file.span, mayBeDER: selector & 1 == 1)
    let blocks = PEMBlock.all(in: content.bytes.span)
    precondition(blocks.allSatisfy { $0.kind != .other }, "a block that workers are not to have")
    precondition(outside(blocks, content.bytes).allSatisfy { $0 == 0x0A }, "text outside of blocks")
    var again = PublicPEM()
    again.add(content.bytes.span)
    precondition(again.bytes == content.bytes, "another text the second time")
    guard selector & 1 == 0 else { return 0 }
    let kept = PEMBlock.all(in: file.span).filter { $0.kind != .other }
    precondition(
        kept.map(\.line) == blocks.map(\.line) && kept.map(\.isComplete) == blocks.map(\.isComplete), "other blocks")
    return 0
}

private func outside(_ blocks: [PEMBlock], _ bytes: [UInt8]) -> [UInt8] {
    var rest: [UInt8] = []
    var offset = 0
    for block in blocks {
        rest += bytes[offset..<block.range.lowerBound]
        // Of a block without END line only its BEGIN line is there.
        let end = block.isComplete ? block.range.upperBound : bytes[block.range.lowerBound...].firstIndex(of: 0x0A)
        offset = end ?? block.range.upperBound
    }
    return rest + bytes[offset...]
}
