internal import Glibc
internal import Handshake
internal import Settings
internal import System
internal import TLSWire

/// A configured PSK that is converted between formats, in memory that is wiped.
struct KeyMaterial: ~Copyable {
    /// Starts with the key.
    private(set) var key: SecretBuffer
    let decoded: NVMeInterchangeKey.Decoded

    /// Size of the longest key.
    private static let capacity = 48

    /// Keeps keys out of core dumps and away from debuggers. Best effort, because the memory is locked and wiped
    /// anyway.
    static func harden() { _ = try? ProcessHardening.apply() }

    fileprivate init(_ key: consuming SecretBuffer, _ decoded: NVMeInterchangeKey.Decoded) {
        self.key = key
        self.decoded = decoded
    }

    /// Generates a random key.
    static func random(_ hash: PSKHash, transform: NVMeInterchangeKey.Transform) throws(SystemError) -> KeyMaterial {
        let key = try randomKey(hash.keyLength)
        return KeyMaterial(key, NVMeInterchangeKey.Decoded(transform: transform, length: hash.keyLength))
    }

    private static func randomKey(_ count: Int) throws(SystemError) -> SecretBuffer {
        var key = try SecretBuffer(capacity: capacity)
        try fill(&key, count)
        return key
    }

    /// Fills the first bytes with random ones, at most 256.
    static func fill(_ key: inout SecretBuffer, _ count: Int) throws(SystemError) {
        let result = unsafe key.withUnsafeMutableBytes { raw in unsafe getentropy(raw.baseAddress, count) }
        guard result == 0 else { throw .last("getentropy") }
    }

    /// Encodes the interchange format with a line feed.
    ///
    /// - Returns: The number of bytes in `text`.
    func encode(into text: inout SecretBuffer) throws(NVMeKeyProblem) -> Int {
        let length = try key.withSpan(first: decoded.length) { (span) throws(NVMeKeyProblem) in
            try text.withMutableSpan { (target) throws(NVMeKeyProblem) in
                try NVMeInterchangeKey.encode(span, transform: decoded.transform, into: &target)
            }
        }
        text.withMutableSpan { $0[length] = UInt8(ascii: "\n") }
        return length + 1
    }
}

/// The text of a file or of standard input: one key in interchange format, or a list of PSKs with their identities
/// (`PSKFile`), such as that of `nvme keys export`. In memory that is wiped.
struct KeyText: ~Copyable {
    private let text: SecretBuffer
    /// Without white space at both ends.
    private let range: Range<Int>
    private let name: String

    private static let limit = 65_536

    /// Reads a file; standard input without a path, from a terminal with echo off.
    init(of path: String?) throws {
        guard let path, path != "-" else {
            try self.init(StandardStreams.input, "standard input")
            return
        }
        let number = retrying { unsafe open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY) }
        guard number >= 0 else { throw SystemError.last("open", path) }
        let descriptor = OwnedDescriptor(adopting: number)
        guard try !FileIdentity(of: descriptor).isFolder else {
            throw TextError("\(path) is a folder; remedy: give the file of the key")
        }
        try self.init(descriptor.number, path)
    }

    private init(_ descriptor: Int32, _ name: String) throws {
        text = try Self.read(descriptor, name)
        range = text.withSpan { Self.trimmed($0) }
        self.name = name
    }

    /// True if the text is not one key alone: an identity, or a line of another kind, precedes a key.
    var isList: Bool {
        text.withSpan { span in
            let mark = Array("NVMeTLSkey-".utf8)
            func begins(_ start: Int) -> Bool {
                start + mark.count <= range.upperBound && mark.indices.allSatisfy { span[start + $0] == mark[$0] }
            }
            return !range.isEmpty && !begins(range.lowerBound) && range.contains(where: begins)
        }
    }

    /// Decodes the key.
    func key() throws -> KeyMaterial {
        var key = try SecretBuffer(capacity: NVMeInterchangeKey.keyLengths.max() ?? 0)
        do throws(NVMeKeyProblem) {
            let decoded = try text.withSpan { (span) throws(NVMeKeyProblem) in
                try key.withMutableSpan { (target) throws(NVMeKeyProblem) in
                    try NVMeInterchangeKey.decode(span.extracting(range), into: &target)
                }
            }
            return KeyMaterial(key, decoded)
        } catch {
            throw TextError("\(name) has no NVMe TLS key: \(error.description)")
        }
    }

    /// The PSKs of a list.
    func entries() throws(SettingsError) -> [PSKFileEntry] {
        try text.withSpan { (span) throws(SettingsError) in
            // From the beginning, so that errors have the right line.
            try PSKFile.parse(span.extracting(first: range.upperBound), file: name)
        }
    }

    /// Decodes a PSK of a list.
    func decode(_ entry: PSKFileEntry) throws -> SecretBuffer {
        var key = try SecretBuffer(capacity: entry.keyLength)
        try text.withSpan { span in
            try key.withMutableSpan { target in try entry.decodeKey(from: span, into: &target) }
        }
        return key
    }

    private static func read(_ descriptor: Int32, _ name: String) throws -> SecretBuffer {
        var text = try SecretBuffer(capacity: limit)
        let isTerminal = Terminal.isTerminal(descriptor)
        let echo = isTerminal ? Echo(off: descriptor) : nil
        defer { echo?.restore() }
        if isTerminal { Output.printError("key (it is not shown):") }
        var count = 0
        while count < text.capacity {
            let got = unsafe text.withUnsafeMutableBytes { raw in
                retrying { unsafe Glibc.read(descriptor, raw.baseAddress?.advanced(by: count), raw.count - count) }
            }
            guard got >= 0 else { throw SystemError.last("read", name) }
            count += got
            let isLine = text.withSpan(first: count) { span in span.indices.contains { span[$0] == UInt8(ascii: "\n") }
            }
            if got == 0 || isTerminal && isLine { return text }
        }
        throw TextError(
            "\(name) has more than \(limit - 1) bytes, and keys are shorter; remedy: give the file of the key")
    }

    /// The range without blanks and line feeds at both ends, and without the zeros at the end of the buffer.
    private static func trimmed(_ span: Span<UInt8>) -> Range<Int> {
        func isBlank(_ byte: UInt8) -> Bool { byte <= 0x20 }
        var range = 0..<span.count
        while let last = range.last, isBlank(span[last]) { range = range.lowerBound..<last }
        while let first = range.first, isBlank(span[first]) { range = first + 1..<range.upperBound }
        return range
    }
}

/// Disables echo on a terminal.
private struct Echo {
    private let descriptor: Int32
    private let before: termios

    init?(off descriptor: Int32) {
        var mode = termios()
        guard unsafe tcgetattr(descriptor, &mode) == 0 else { return nil }
        self.descriptor = descriptor
        before = mode
        mode.c_lflag &= ~tcflag_t(ECHO)
        _ = unsafe tcsetattr(descriptor, TCSAFLUSH, &mode)
    }

    func restore() {
        var mode = before
        _ = unsafe tcsetattr(descriptor, TCSAFLUSH, &mode)
    }
}
