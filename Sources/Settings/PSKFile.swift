/// A PSK file in the format of GnuTLS's psktool: each line has an identity, a colon, and the key in hexadecimal. Or in
/// that of nvme-cli (/etc/nvme/tls-keys): an identity, a blank, and the key in interchange format. A file may have
/// lines of both.
///
/// psktool writes an identity that contains a colon as `#` and hexadecimal digits. Here it may also be written
/// literally, because the *last* colon separates. Empty lines are comments, as are lines that start with `#` followed
/// by a blank, a second `#` or nothing: no identity in hexadecimal starts so. A DH-HMAC-CHAP secret, which nvme-cli
/// keeps in the same file, is not for TLS, and its line is ignored.
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
    /// Position of the key's text in the file.
    package let key: Range<Int>
    package let form: PSKForm
    /// Length of the key in bytes.
    package let keyLength: Int

    /// Decodes the key from the parsed bytes into a buffer of exactly `keyLength` bytes, which the caller must wipe.
    /// Throws if the bytes are not those that were parsed; the buffer is then zero.
    @_lifetime(key: copy key)
    package func decodeKey(
        from bytes: Span<UInt8>, into key: inout MutableSpan<UInt8>
    ) throws(SettingsError) {
        for index in key.indices { key[index] = 0 }
        guard key.count == keyLength, self.key.upperBound <= bytes.count else { throw keyBufferError() }
        if form == .interchange {
            do throws(NVMeKeyProblem) {
                _ = try NVMeInterchangeKey.decode(bytes.extracting(self.key), into: &key)
                return
            } catch {
                throw SettingsError(file: file, line: line, column: 1, problem: .psk(.interchange(error)))
            }
        }
        for index in key.indices {
            let digits = self.key.lowerBound + 2 * index
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

/// Form of a key in a PSK file.
package enum PSKForm: Sendable {
    /// After a colon, as psktool writes it.
    case hexadecimal
    /// After a blank, as nvme-cli writes it: `NVMeTLSkey-1:...:`. The key is the TLS PSK; nothing is derived from it.
    case interchange
}

/// Parses one line of a PSK file.
struct PSKLine {
    let file: String
    let line: Int
    /// Position of the line in the file.
    let start: Int

    /// The entry of a line; `nil` for a comment or an empty line. `range` excludes the newline.
    func read(_ bytes: Span<UInt8>, _ range: Range<Int>) throws(SettingsError) -> PSKFileEntry? {
        guard !isComment(bytes, range) else { return nil }
        if let blank = lastBlank(bytes, range) {
            let word = bytes.trimmingBlanks(blank + 1..<range.upperBound)
            if begins(Self.secretMark, bytes, word) { return nil }
            if begins(Self.interchangeMark, bytes, word) {
                return try interchange(bytes, range.lowerBound..<blank, word)
            }
        }
        guard let colon = range.last(where: { bytes[$0] == Byte.colon }) else {
            throw error(.missingColon, at: start)
        }
        guard !range.contains(where: { begins(Self.interchangeMark, bytes, $0..<range.upperBound) }) else {
            throw error(.interchangeFormat, at: start)
        }
        let name = range.lowerBound..<colon
        let key = bytes.trimmingBlanks(colon + 1..<range.upperBound)
        try checkIdentity(bytes, name)
        try checkKey(bytes, key)
        return try entry(bytes, name, key, .hexadecimal, key.count / 2)
    }

    private func interchange(
        _ bytes: Span<UInt8>, _ name: Range<Int>, _ key: Range<Int>
    ) throws(SettingsError) -> PSKFileEntry {
        try checkIdentity(bytes, name)
        let decoded: NVMeInterchangeKey.Decoded
        do throws(NVMeKeyProblem) {
            decoded = try NVMeInterchangeKey.check(bytes.extracting(key))
        } catch {
            throw self.error(.interchange(error), at: key.lowerBound)
        }
        return try entry(bytes, name, key, .interchange, decoded.length)
    }

    /// The entry of a line whose parts are valid. The identity is copied last: on an invalid line, what looks like an
    /// identity may be a key.
    private func entry(
        _ bytes: Span<UInt8>, _ name: Range<Int>, _ key: Range<Int>, _ form: PSKForm, _ length: Int
    ) throws(SettingsError) -> PSKFileEntry {
        let identity = try identity(bytes, name)
        if let hash = NVMeIdentityHash(identity: identity) {
            guard let expected = hash.keyLength else { throw error(.nvmeHash, at: start) }
            guard length == expected else { throw error(.nvmeKeyLength(expected: expected), at: key.lowerBound) }
        }
        return PSKFileEntry(
            file: file, line: line, identity: identity, key: key, form: form, keyLength: length)
    }

    /// An error at a position in the file.
    func error(_ problem: PSKFileProblem, at index: Int) -> SettingsError {
        SettingsError(file: file, line: line, column: index - start + 1, problem: .psk(problem))
    }

    private func isComment(_ bytes: Span<UInt8>, _ range: Range<Int>) -> Bool {
        let text = bytes.trimmingBlanks(range)
        guard !text.isEmpty else { return true }
        guard bytes[range.lowerBound] == Byte.hash else { return false }
        guard text.count > 1 else { return true }
        let second = bytes[range.lowerBound + 1]
        return Byte.isBlank(second) || second == Byte.hash
    }

    /// The last blank before the last word of a line; `nil` if it has one word.
    private func lastBlank(_ bytes: Span<UInt8>, _ range: Range<Int>) -> Int? {
        let text = bytes.trimmingBlanks(range)
        return text.last { Byte.isBlank(bytes[$0]) }
    }

    private static let interchangeMark = Array("NVMeTLSkey-".utf8)
    /// Start of a DH-HMAC-CHAP secret.
    private static let secretMark = Array("DHHC-1:".utf8)

    private func begins(_ mark: [UInt8], _ bytes: Span<UInt8>, _ range: Range<Int>) -> Bool {
        range.count >= mark.count && mark.indices.allSatisfy { bytes[range.lowerBound + $0] == mark[$0] }
    }

    private func checkIdentity(_ bytes: Span<UInt8>, _ range: Range<Int>) throws(SettingsError) {
        guard let first = range.first, let last = range.last else { throw error(.emptyIdentity, at: start) }
        guard bytes[first] == Byte.hash else {
            guard !Byte.isBlank(bytes[first]) else { throw error(.blankAroundIdentity, at: first) }
            guard !Byte.isBlank(bytes[last]) else { throw error(.blankAroundIdentity, at: last) }
            return
        }
        let digits = first + 1..<range.upperBound
        guard !digits.isEmpty else { throw error(.emptyIdentity, at: start) }
        if let wrong = digits.first(where: { Byte.hexDigit(bytes[$0]) == nil }) {
            throw error(.identityNotHex, at: wrong)
        }
        guard digits.count.isMultiple(of: 2) else { throw error(.oddIdentityHex, at: digits.lowerBound) }
    }

    private func identity(_ bytes: Span<UInt8>, _ range: Range<Int>) throws(SettingsError) -> [UInt8] {
        let isHex = bytes[range.lowerBound] == Byte.hash
        let identity = isHex ? decodeHex(bytes, range.dropFirst()) : bytes.copy(range)
        guard !identity.contains(0) else { throw error(.nulInIdentity, at: range.lowerBound) }
        guard identity.count <= PSKFile.longestIdentity else { throw error(.identityTooLong, at: range.lowerBound) }
        return identity
    }

    /// Decodes a range of hexadecimal digits of even length.
    private func decodeHex(_ bytes: Span<UInt8>, _ digits: Range<Int>) -> [UInt8] {
        stride(from: digits.lowerBound, to: digits.upperBound, by: 2).map { index in
            (Byte.hexDigit(bytes[index]) ?? 0) << 4 | (Byte.hexDigit(bytes[index + 1]) ?? 0)
        }
    }

    private func checkKey(_ bytes: Span<UInt8>, _ key: Range<Int>) throws(SettingsError) {
        guard !key.isEmpty else { throw error(.emptyKey, at: key.lowerBound) }
        if let wrong = key.first(where: { Byte.hexDigit(bytes[$0]) == nil }) {
            throw error(.keyNotHex, at: wrong)
        }
        guard key.count.isMultiple(of: 2) else { throw error(.oddKeyHex, at: key.lowerBound) }
        guard key.count >= 2 * PSKFile.shortestKey else { throw error(.keyTooShort, at: key.lowerBound) }
        guard key.count <= 2 * PSKFile.longestKey else { throw error(.keyTooLong, at: key.lowerBound) }
    }
}

/// The hash in an NVMe TLS identity, which starts with `NVMe`, a version digit, R or G, two digits, a blank (NVMe/TCP
/// transport specification, "TLS PSK and PSK Identity Derivation"; drivers/nvme/common/keyring.c).
enum NVMeIdentityHash: Equatable {
    case sha256
    case sha384
    case unknown

    /// `nil` if the identity does not start so and is not for NVMe.
    init?(identity: [UInt8]) {
        let head = identity.prefix(9)
        guard head.count == 9, head.starts(with: "NVMe".utf8), Byte.isDigit(head[4]), Byte.isLetter(head[5]),
            Byte.isDigit(head[6]), Byte.isDigit(head[7]), head[8] == Byte.blank
        else { return nil }
        switch (head[6], head[7]) {
        case (0x30, 0x31): self = .sha256
        case (0x30, 0x32): self = .sha384
        default: self = .unknown
        }
    }

    /// Length of the PSK in bytes; `nil` for an unknown hash.
    var keyLength: Int? {
        switch self {
        case .sha256: 32
        case .sha384: 48
        case .unknown: nil
        }
    }
}

/// A line of a PSK file is invalid.
package enum PSKFileProblem: Equatable, Sendable {
    case missingColon
    case emptyIdentity
    case blankAroundIdentity
    case identityNotHex
    case oddIdentityHex
    case nulInIdentity
    case identityTooLong
    case duplicateIdentity(firstLine: Int)
    case emptyKey
    case keyNotHex
    case oddKeyHex
    case keyTooShort
    case keyTooLong
    /// A key in interchange format that does not follow an identity and a blank.
    case interchangeFormat
    /// A key in interchange format is invalid.
    case interchange(NVMeKeyProblem)
    case nvmeHash
    case nvmeKeyLength(expected: Int)
    /// The bytes to decode a key from are not those that were parsed, or the buffer has the wrong length.
    case keyBuffer

    package var what: String {
        switch self {
        case .missingColon: "the line has no colon"
        case .emptyIdentity: "there is no identity before the colon"
        case .blankAroundIdentity: "the identity begins or ends with a blank"
        case .identityNotHex: "the line begins with #, but no identity in hexadecimal digits follows"
        case .oddIdentityHex: "the identity after the # has an odd number of hexadecimal digits"
        case .nulInIdentity: "the identity contains a NUL byte"
        case .identityTooLong: "the identity is longer than \(PSKFile.longestIdentity) bytes"
        case .duplicateIdentity(let firstLine): "line \(firstLine) has the same identity"
        case .emptyKey: "there is no key after the last colon"
        case .keyNotHex: "the key after the last colon contains a character that is not a hexadecimal digit"
        case .oddKeyHex: "the key has an odd number of hexadecimal digits"
        case .keyTooShort: "the key is shorter than \(PSKFile.shortestKey) bytes"
        case .keyTooLong: "the key is longer than \(PSKFile.longestKey) bytes"
        case .interchangeFormat:
            "the line has an NVMe TLS key (NVMeTLSkey-1) that does not follow an identity and a blank"
        case .interchange(let problem): problem.what
        case .nvmeHash: "the NVMe identity names a hash other than 01 (SHA-256) and 02 (SHA-384)"
        case .nvmeKeyLength(let expected):
            "the key is not \(expected) bytes long, as the hash of this NVMe identity requires"
        case .keyBuffer: "the key cannot be decoded, as the bytes or the buffer do not fit the entry"
        }
    }

    package var remedy: String {
        switch self {
        case .missingColon: "write identity:key, the key in hexadecimal digits, or begin a comment with # and a blank"
        case .emptyIdentity: "write the identity that the peer uses before the colon"
        case .blankAroundIdentity: "remove the blank, or write # and the identity in hexadecimal digits"
        case .identityNotHex: "write a blank after the # of a comment"
        case .oddIdentityHex, .oddKeyHex: "check if the line was truncated, and rewrite it"
        case .nulInIdentity: "write an identity without NUL bytes, as the kernel's keys cannot have them"
        case .identityTooLong: "write a shorter identity, as the kernel's keys cannot have a longer one"
        case .duplicateIdentity: "remove one of the two lines"
        case .emptyKey, .keyNotHex: "write the key after the last colon in the digits 0 to 9 and a to f"
        case .keyTooShort, .keyTooLong: "make a key of 32 bytes with psktool --keysize=32"
        case .interchangeFormat:
            "add the PSK that is derived from it, with tlshctl keys insert --psk-file"
        case .interchange(let problem): problem.remedy
        case .nvmeHash: "write the identity as nvme-cli derives it, with 01 or 02"
        case .nvmeKeyLength: "write the TLS PSK that nvme-cli derives for this identity, or correct the identity's hash"
        case .keyBuffer: "read and parse the file again"
        }
    }
}
