package import Handshake

/// What a worker must know before its first handshake.
package struct WorkerSetUp: Sendable, Equatable {
    package var kernelTLS: KernelTLSCapabilities
    /// `-l`: 0 one line per handshake, 1 each step, 3 the records' types and sizes.
    package var logLevel: UInt8
    /// `[debug] tls`: GnuTLS's own log level, 0 to 9.
    package var libraryLogLevel: UInt8

    /// How many bytes a peer may send before its handshake is done.
    package var handshakeBytes: Int

    package init(
        kernelTLS: KernelTLSCapabilities, logLevel: UInt8, libraryLogLevel: UInt8,
        handshakeBytes: Int = HandshakeBytes.standard
    ) {
        self.kernelTLS = kernelTLS
        self.logLevel = logLevel
        self.libraryLogLevel = libraryLogLevel
        self.handshakeBytes = handshakeBytes
    }

    func encode(with writer: inout ByteWriter, to bytes: inout MutableSpan<UInt8>) throws(WireError) {
        try writer.unsigned8(UInt8(kernelTLS.ciphers.count), to: &bytes)
        for cipher in KernelCipher.allCases where kernelTLS.ciphers.contains(cipher) {
            try writer.unsigned16(cipher.rawValue, to: &bytes)
        }
        try writer.unsigned8(kernelTLS.limitsTransmitPayload ? 1 : 0, to: &bytes)
        try writer.unsigned8(kernelTLS.rekeys ? 1 : 0, to: &bytes)
        try writer.unsigned8(logLevel, to: &bytes)
        try writer.unsigned8(libraryLogLevel, to: &bytes)
        try writer.unsigned32(UInt32(clamping: handshakeBytes), to: &bytes)
    }

    init(with reader: inout ByteReader, from bytes: Span<UInt8>) throws(WireError) {
        var ciphers = Set<KernelCipher>()
        for _ in 0..<(try reader.unsigned8("number of ciphers", in: bytes)) {
            let start = reader.offset
            let raw = try reader.unsigned16("cipher", in: bytes)
            guard let cipher = KernelCipher(rawValue: raw) else {
                throw .unknownValue(field: "cipher", value: UInt64(raw), offset: start)
            }
            guard ciphers.insert(cipher).inserted else { throw .duplicate(field: "cipher", offset: start) }
        }
        kernelTLS = KernelTLSCapabilities(
            ciphers: ciphers, limitsTransmitPayload: try reader.boolean("payload limit", in: bytes),
            rekeys: try reader.boolean("rekeying", in: bytes))
        logLevel = try reader.unsigned8("log level", in: bytes)
        libraryLogLevel = try reader.unsigned8("library log level", in: bytes)
        let start = reader.offset
        handshakeBytes = Int(try reader.unsigned32("handshake bytes", in: bytes))
        guard HandshakeBytes.range.contains(handshakeBytes) else {
            throw .outOfRange(field: "handshake bytes", offset: start)
        }
    }
}
