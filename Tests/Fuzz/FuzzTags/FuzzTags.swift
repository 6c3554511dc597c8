import Handshake
import Settings

/// libFuzzer's entry: the bytes are a file of session tags.
@_cdecl("LLVMFuzzerTestOneInput")
func fuzzTags(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    // The pointer is libFuzzer's, good for `count` bytes until this returns; copied, so that nothing outlives it.
    let bytes = unsafe [UInt8](UnsafeBufferPointer(start: start, count: count))
    do throws(SettingsError) {
        for document in try YAMLParser.parse(bytes, file: "f") { check(document, bytes) }
        let tags = try SessionTagsReader.read([(path: "f", bytes: bytes)])
        for tag in tags.tags {
            precondition((tag.required + tag.excluded).allSatisfy(tags.filters.indices.contains), "no such filter")
        }
        _ = tags.names(for: CertificateFacts())
    } catch {
        precondition(error.line >= 1 && error.line <= bytes.count { $0 == 0x0A } + 1, "error outside the file")
        precondition(error.column >= 1 && error.column <= bytes.count + 1, "error outside the line")
        precondition(error.description.utf8.allSatisfy { $0 >= 0x20 && $0 != 0x7F }, "error of more than one line")
    }
    return 0
}

private func check(_ node: YAMLNode, _ bytes: [UInt8]) {
    precondition(node.place.line >= 1 && node.place.line <= bytes.count { $0 == 0x0A } + 1, "node outside the file")
    switch node.value {
    case .empty, .scalar: break
    case .sequence(let items): for item in items { check(item, bytes) }
    case .mapping(let entries):
        precondition(Set(entries.map(\.key)).count == entries.count, "a key twice")
        for entry in entries { check(entry.node, bytes) }
    }
}
