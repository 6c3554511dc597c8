import Settings

/// libFuzzer's entry. An even first byte reads the rest as settings, an odd one as a file of PSKs, and one that is a
/// multiple of 4 as an NVMe TLS key, too.
@_cdecl("LLVMFuzzerTestOneInput")
func fuzzSettings(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    // The pointer is libFuzzer's, good for `count` bytes until this returns; copied, so that nothing outlives it.
    let bytes = unsafe [UInt8](UnsafeBufferPointer(start: start, count: count))
    guard let selector = bytes.first else { return 0 }
    let file = Array(bytes.dropFirst())
    if selector & 3 == 0 { checkKey(file.span) }
    if selector & 1 == 0 {
        readSettings(file)
    } else {
        readPSKs(file)
    }
    return 0
}

private func readSettings(_ bytes: [UInt8]) {
    do throws(SettingsError) {
        let document = try INIDocument.parse(bytes, file: "f")
        for entry in document.entries {
            _ = try? entry.value.string()
            _ = try? entry.value.path()
            _ = try? entry.value.list()
            _ = try? entry.value.integer()
        }
        let settings = try DaemonSettings([document])
        for notice in settings.notices {
            precondition(notice.line >= 1 && notice.line <= lineCount(bytes), "notice outside the file")
            precondition(isOneLine(notice.description), "notice of more than one line")
        }
    } catch {
        check(error, bytes)
    }
}

private func readPSKs(_ bytes: [UInt8]) {
    do throws(SettingsError) {
        for entry in try PSKFile.parse(bytes, file: "f") {
            precondition(!entry.identity.isEmpty && !entry.identity.contains(0), "identity that no key can have")
            var key = [UInt8](repeating: 0, count: entry.keyLength)
            var span = key.mutableSpan
            try entry.decodeKey(from: bytes.span, into: &span)
        }
    } catch {
        check(error, bytes)
    }
}

private func check(_ error: SettingsError, _ bytes: [UInt8]) {
    precondition(error.problem != .psk(.keyBuffer), "key that cannot be decoded")
    precondition(error.line >= 1 && error.line <= lineCount(bytes), "error outside the file")
    precondition(error.column >= 1 && error.column <= bytes.count + 1, "error outside the line")
    precondition(isOneLine(error.description), "error of more than one line")
}

private func lineCount(_ bytes: [UInt8]) -> Int {
    bytes.count { $0 == 0x0A } + 1
}

private func isOneLine(_ text: String) -> Bool {
    text.utf8.allSatisfy { $0 >= 0x20 && $0 != 0x7F }
}

/// A key that is read is written again as the very same text.
private func checkKey(_ span: Span<UInt8>) {
    var key = [UInt8](repeating: 0, count: 48)
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
