/// A PSK file in the format of GnuTLS's psktool: each line has an identity, a colon, and the key in hexadecimal.
///
/// psktool writes an identity that contains a colon as `#` and hexadecimal digits. Here it may also be written
/// literally, because the *last* colon separates. Empty lines are comments, as are lines that start with `#` followed
/// by a blank, a second `#` or nothing: no identity in hexadecimal starts so.
package enum PSKFile {
    /// Maximum length of a key description: `KEY_MAX_DESC_SIZE` without its NUL (security/keys/internal.h).
    package static let longestIdentity = 4095
    /// 128 bits; shorter PSKs can be guessed (RFC 9257 §4). The limit also detects a key that was written with colons
    /// between its bytes, part of which would otherwise be taken for an identity and sent in clear text.
    package static let shortestKey = 16
    package static let longestKey = 256

    /// Parses a whole file. One invalid line is an error. Keys are not copied: an entry has the position of its key, so
    /// that the caller, who owns the bytes, can wipe them. Errors contain no text of the file.
    package static func parse(_ bytes: Span<UInt8>, file: String) throws(SettingsError) -> [PSKFileEntry] {
        var entries: [PSKFileEntry] = []
        var lines: [[UInt8]: Int] = [:]
        var line = 0
        var start = bytes.startOfText
        while start < bytes.count {
            line += 1
            let end = bytes.endOfLine(from: start)
            let reader = PSKLine(file: file, line: line, start: start)
            if let entry = try reader.read(bytes, start..<end) {
                if let firstLine = lines.updateValue(line, forKey: entry.identity) {
                    throw reader.error(.duplicateIdentity(firstLine: firstLine), at: start)
                }
                entries.append(entry)
            }
            start = end + 1
        }
        return entries
    }

    /// Parses a whole file.
    package static func parse(_ bytes: [UInt8], file: String) throws(SettingsError) -> [PSKFileEntry] {
        try parse(bytes.span, file: file)
    }
}

/// A PSK of a file: its identity, and the position of its key.
package struct PSKFileEntry: Equatable, Sendable {
    /// File name for messages.
    package let file: String
    /// Counted from 1.
    package let line: Int
    /// Identity in the TLS handshake, which is also the description of the kernel's key. Not empty, without NUL, not
    /// necessarily UTF-8. Not secret.
    package let identity: [UInt8]
    /// Position of the key's hexadecimal digits in the file; an even number.
    package let keyHex: Range<Int>

    /// Length of the key in bytes.
    package var keyLength: Int { keyHex.count / 2 }

    /// Decodes the key from the parsed bytes into a buffer of exactly `keyLength` bytes, which the caller must wipe.
    /// Throws if the bytes are not those that were parsed; the buffer is then zero.
    package func decodeKey(
        from bytes: Span<UInt8>, into key: inout MutableSpan<UInt8>
    ) throws(SettingsError) {
        for index in key.indices { key[index] = 0 }
        guard key.count == keyLength, keyHex.upperBound <= bytes.count else { throw keyBufferError() }
        for index in key.indices {
            let digits = keyHex.lowerBound + 2 * index
            guard let high = Byte.hexDigit(bytes[digits]), let low = Byte.hexDigit(bytes[digits + 1]) else {
                for index in key.indices { key[index] = 0 }
                throw keyBufferError()
            }
            key[index] = high << 4 | low
        }
    }

    private func keyBufferError() -> SettingsError {
        SettingsError(file: file, line: line, column: 1, problem: .psk(.keyBuffer))
    }
}
