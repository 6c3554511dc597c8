internal import Glibc
internal import System
internal import Wire

/// A configured PSK on its way from one form to another; the bytes stay in memory that is wiped.
struct KeyMaterial: ~Copyable {
    /// The key at its start.
    private(set) var key: SecretBuffer
    let decoded: NVMeInterchangeKey.Decoded

    /// Room for a key of 48 bytes and its check sum.
    private static let capacity = 52

    /// Keeps keys out of core dumps and away from debuggers; best effort, as the memory itself is locked and wiped
    /// anyway.
    static func harden() { _ = try? ProcessHardening.apply() }

    private init(_ key: consuming SecretBuffer, _ decoded: NVMeInterchangeKey.Decoded) {
        self.key = key
        self.decoded = decoded
    }

    /// A new key from the system's random numbers.
    static func random(_ hash: PSKHash, transform: NVMeInterchangeKey.Transform) throws(SystemError) -> KeyMaterial {
        let key = try randomKey(hash.keyLength)
        return KeyMaterial(key, NVMeInterchangeKey.Decoded(transform: transform, length: hash.keyLength))
    }

    /// Reads the interchange form from an open file, or from a terminal without showing what is typed.
    static func reading(_ descriptor: Int32, named name: String) throws(KeyProblem) -> KeyMaterial {
        try decode(try read(descriptor, name), name)
    }

    private static func randomKey(_ count: Int) throws(SystemError) -> SecretBuffer {
        var key = try SecretBuffer(capacity: capacity)
        let result = unsafe key.withUnsafeMutableBytes { raw in unsafe getentropy(raw.baseAddress, count) }
        guard result == 0 else { throw .last("getentropy") }
        return key
    }

    private static func decode(_ text: consuming SecretBuffer, _ name: String) throws(KeyProblem) -> KeyMaterial {
        var key = try KeyProblem.of { () throws(SystemError) in try SecretBuffer(capacity: capacity) }
        do throws(WireError) {
            let decoded = try text.withSpan { (span) throws(WireError) in
                let range = trimmed(span)
                return try key.withMutableSpan { (target) throws(WireError) in
                    try NVMeInterchangeKey.decode(span.extracting(range), into: &target)
                }
            }
            return KeyMaterial(key, decoded)
        } catch {
            throw KeyProblem(
                "\(name) holds no NVMe TLS key in interchange form (NVMeTLSkey-1:…): \(error.description)")
        }
    }

    /// The interchange form with a line feed, for the one who made it.
    ///
    /// - Returns: how many bytes of `text` it has.
    func encode(into text: inout SecretBuffer) throws(WireError) -> Int {
        let length = try key.withSpan(first: decoded.length) { (span) throws(WireError) in
            try text.withMutableSpan { (target) throws(WireError) in
                try NVMeInterchangeKey.encode(span, transform: decoded.transform, into: &target)
            }
        }
        text.withMutableSpan { $0[length] = UInt8(ascii: "\n") }
        return length + 1
    }

    private static func read(_ descriptor: Int32, _ name: String) throws(KeyProblem) -> SecretBuffer {
        var text = try KeyProblem.of { () throws(SystemError) in try SecretBuffer(capacity: 4096) }
        let isTerminal = isatty(descriptor) == 1
        let echo = isTerminal ? Echo(off: descriptor) : nil
        defer { echo?.restore() }
        if isTerminal { Output.complain("key (it is not shown):") }
        var count = 0
        while count < text.capacity {
            let got = unsafe text.withUnsafeMutableBytes { raw in
                retrying { unsafe Glibc.read(descriptor, raw.baseAddress?.advanced(by: count), raw.count - count) }
            }
            guard got >= 0 else { throw KeyProblem(SystemError.last("read", name).description) }
            count += got
            let isLine = text.withSpan(first: count) { span in span.indices.contains { span[$0] == UInt8(ascii: "\n") }
            }
            if got == 0 || isTerminal && isLine { return text }
        }
        throw KeyProblem("\(name) is too long to be one key")
    }

    /// Without blanks and line feeds at both ends, and the zeros that the buffer ends with.
    private static func trimmed(_ span: Span<UInt8>) -> Range<Int> {
        func isBlank(_ byte: UInt8) -> Bool { byte <= 0x20 }
        var range = 0..<span.count
        while let last = range.last, isBlank(span[last]) { range = range.lowerBound..<last }
        while let first = range.first, isBlank(span[first]) { range = first + 1..<range.upperBound }
        return range
    }
}

/// A terminal that does not show what is typed.
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

/// Why a key cannot be made, read or put where it belongs; never with anything of the key.
struct KeyProblem: Error {
    let text: String

    init(_ text: String) {
        self.text = text
    }

    static func of<Value: ~Copyable>(_ body: () throws(SystemError) -> Value) throws(KeyProblem) -> Value {
        do throws(SystemError) {
            return try body()
        } catch {
            throw KeyProblem(error.description)
        }
    }
}
