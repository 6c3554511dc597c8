internal import Glibc
internal import Handshake
internal import InspectWire
internal import System
internal import TLSWire
internal import Wire

/// A configured PSK that is converted between formats, in memory that is wiped.
struct KeyMaterial: ~Copyable {
    /// Starts with the key.
    private(set) var key: SecretBuffer
    let decoded: NVMeInterchangeKey.Decoded

    /// Size of a key of 48 bytes and its checksum.
    private static let capacity = 52

    /// Keeps keys out of core dumps and away from debuggers. Best effort, because the memory is locked and wiped
    /// anyway.
    static func harden() { _ = try? ProcessHardening.apply() }

    private init(_ key: consuming SecretBuffer, _ decoded: NVMeInterchangeKey.Decoded) {
        self.key = key
        self.decoded = decoded
    }

    /// Generates a random key.
    static func random(_ hash: PSKHash, transform: NVMeInterchangeKey.Transform) throws(SystemError) -> KeyMaterial {
        let key = try randomKey(hash.keyLength)
        return KeyMaterial(key, NVMeInterchangeKey.Decoded(transform: transform, length: hash.keyLength))
    }

    /// Reads the interchange format from an open file, or from a terminal with echo off.
    static func reading(_ descriptor: Int32, named name: String) throws -> KeyMaterial {
        try decode(try read(descriptor, name), name)
    }

    /// Reads the interchange format from a file.
    static func reading(_ path: String) throws -> KeyMaterial {
        let number = retrying { unsafe open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY) }
        guard number >= 0 else { throw SystemError.last("open", path) }
        let descriptor = OwnedDescriptor(adopting: number)
        return try reading(descriptor.number, named: path)
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

    private static func decode(_ text: consuming SecretBuffer, _ name: String) throws -> KeyMaterial {
        var key = try SecretBuffer(capacity: capacity)
        do throws(WireError) {
            let decoded = try text.withSpan { (span) throws(WireError) in
                let range = trimmed(span)
                return try key.withMutableSpan { (target) throws(WireError) in
                    try NVMeInterchangeKey.decode(span.extracting(range), into: &target)
                }
            }
            return KeyMaterial(key, decoded)
        } catch {
            throw TextError(
                "\(name) holds no NVMe TLS key in interchange form (NVMeTLSkey-1:…): \(error.description)")
        }
    }

    /// Encodes the interchange format with a line feed.
    ///
    /// - Returns: The number of bytes in `text`.
    func encode(into text: inout SecretBuffer) throws(WireError) -> Int {
        let length = try key.withSpan(first: decoded.length) { (span) throws(WireError) in
            try text.withMutableSpan { (target) throws(WireError) in
                try NVMeInterchangeKey.encode(span, transform: decoded.transform, into: &target)
            }
        }
        text.withMutableSpan { $0[length] = UInt8(ascii: "\n") }
        return length + 1
    }

    private static func read(_ descriptor: Int32, _ name: String) throws -> SecretBuffer {
        var text = try SecretBuffer(capacity: 4096)
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
        throw TextError("\(name) is too long to be one key")
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
