/// A file of PSKs as GnuTLS' psktool writes it: on each line an identity, a colon, and the key in hexadecimal digits.
///
/// An identity with a colon in it is written by psktool as `#` and hexadecimal digits. Here it may also stand as it
/// is, as the key has no colon: the *last* one separates. Empty lines and lines that begin with `#` and a blank (or
/// a second `#`, or nothing) are comments: no identity in hexadecimal digits begins so.
package enum PSKFile {
    /// `KEY_MAX_DESC_SIZE` without its NUL (security/keys/internal.h): what a key's description can hold.
    package static let longestIdentity = 4095
    /// 128 bits, below which a PSK can be guessed (RFC 9257 §4). Also what keeps a key that was written with colons
    /// between its bytes from being taken for an identity, which would be sent in clear.
    package static let shortestKey = 16
    package static let longestKey = 256

    /// Reads a whole file; one bad line refuses it. Keys are not copied: an entry says where its key is, so that the
    /// caller, who owns the bytes, can wipe them. No error holds any text of the file.
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

    /// Reads a whole file.
    package static func parse(_ bytes: [UInt8], file: String) throws(SettingsError) -> [PSKFileEntry] {
        try parse(bytes.span, file: file)
    }
}

/// One PSK of a file: who it is for, and where in the file its key is.
package struct PSKFileEntry: Equatable, Sendable {
    /// The file as it was named to the parser.
    package let file: String
    /// Counted from 1.
    package let line: Int
    /// The bytes that the TLS handshake carries, which are also the description of the kernel's key. Not empty, no
    /// NUL, not necessarily UTF-8. Not secret.
    package let identity: [UInt8]
    /// Where the key's hexadecimal digits are in the bytes of the file; an even number of them.
    package let keyHex: Range<Int>

    /// The key's length in bytes.
    package var keyLength: Int { keyHex.count / 2 }

    /// Decodes the key out of the bytes that were parsed into a buffer of exactly `keyLength` bytes, which the caller
    /// wipes after use. When it throws, as these are not the bytes that were parsed, the buffer is all zeros.
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
