/// Parses one line of a PSK file.
struct PSKLine {
    let file: String
    let line: Int
    /// Position of the line in the file.
    let start: Int

    /// The entry of a line; `nil` for a comment or an empty line. `range` excludes the newline.
    func read(_ bytes: Span<UInt8>, _ range: Range<Int>) throws(SettingsError) -> PSKFileEntry? {
        guard !isComment(bytes, range) else { return nil }
        guard let colon = range.last(where: { bytes[$0] == Byte.colon }) else {
            throw error(.missingColon, at: start)
        }
        guard !hasInterchangeKey(bytes, range) else {
            throw error(.interchangeFormat, at: start)
        }
        let name = range.lowerBound..<colon
        let key = bytes.trimmingBlanks(colon + 1..<range.upperBound)
        try checkIdentity(bytes, name)
        try checkKey(bytes, key)
        // The identity is copied last: on an invalid line, what looks like an identity may be a key.
        let identity = try identity(bytes, name)
        if let hash = NVMeIdentityHash(identity: identity) {
            guard let length = hash.keyLength else { throw error(.nvmeHash, at: start) }
            guard key.count == 2 * length else {
                throw error(.nvmeKeyLength(expected: length), at: key.lowerBound)
            }
        }
        return PSKFileEntry(file: file, line: line, identity: identity, keyHex: key)
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

    /// Returns `true` if the line contains a key in interchange format, part of which would become the identity.
    private func hasInterchangeKey(_ bytes: Span<UInt8>, _ range: Range<Int>) -> Bool {
        let mark = Array(":NVMeTLSkey-".utf8)
        guard range.count >= mark.count else { return false }
        return (range.lowerBound...range.upperBound - mark.count).contains { start in
            mark.indices.allSatisfy { bytes[start + $0] == mark[$0] }
        }
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
