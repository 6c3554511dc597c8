package import Handshake

/// Facts that a worker needs before its first handshake.
package struct WorkerSetUp: MessageFields, Sendable, Equatable {
    package var kernelTLS: KernelTLSCapabilities
    /// `-l`: 0 one line per handshake, 1 each step, 3 the records' types and sizes.
    package var logLevel: UInt8
    /// `[debug] tls`: GnuTLS's own log level, 0 to 9.
    package var libraryLogLevel: UInt8

    /// Maximum number of bytes that a peer may send before its handshake is done.
    package var handshakeBytes: Int

    package init(
        kernelTLS: KernelTLSCapabilities = KernelTLSCapabilities(ciphers: [], limitsTransmitPayload: false),
        logLevel: UInt8 = 0, libraryLogLevel: UInt8 = 0,
        handshakeBytes: Int = HandshakeBytes.standard
    ) {
        self.kernelTLS = kernelTLS
        self.logLevel = logLevel
        self.libraryLogLevel = libraryLogLevel
        self.handshakeBytes = handshakeBytes
    }

    package mutating func code(_ coder: inout MessageCoder, in bytes: inout MutableSpan<UInt8>) throws(WireError) {
        var ciphers = KernelCipher.allCases.filter(kernelTLS.ciphers.contains), known = Set<KernelCipher>()
        let most = Int(UInt8.max)
        try coder.list("number of ciphers", &ciphers, limit: most, blank: .aes128GCM, in: &bytes) {
            (coder, cipher, bytes) throws(WireError) in
            let start = coder.offset
            try coder.choice("cipher", &cipher, in: &bytes)
            guard known.insert(cipher).inserted else { throw .duplicate(field: "cipher", offset: start) }
        }
        kernelTLS.ciphers = known
        try coder.flag("payload limit", &kernelTLS.limitsTransmitPayload, in: &bytes)
        try coder.flag("rekeying", &kernelTLS.rekeys, in: &bytes)
        try coder.integer("log level", &logLevel, in: &bytes)
        try coder.integer("library log level", &libraryLogLevel, in: &bytes)
        let start = coder.offset
        var limit = UInt32(clamping: handshakeBytes)
        try coder.integer("handshake bytes", &limit, in: &bytes)
        handshakeBytes = Int(limit)
        try coder.require(
            HandshakeBytes.range.contains(handshakeBytes), .outOfRange(field: "handshake bytes", offset: start))
    }
}
