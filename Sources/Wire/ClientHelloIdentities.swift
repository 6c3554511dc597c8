/// What a server must know of a ClientHello before its TLS library answers it (RFC 8446 §4.1.2).
package struct ClientHelloIdentities: Sendable, Equatable {
    /// One entry of the extension pre_shared_key (RFC 8446 §4.2.11).
    package struct Identity: Sendable, Equatable {
        package var name: [UInt8]
        /// 0 for external PSKs; tickets have another number.
        package var obfuscatedAge: UInt32

        package init(name: [UInt8], obfuscatedAge: UInt32) {
            self.name = name
            self.obfuscatedAge = obfuscatedAge
        }
    }

    /// In the client's order of preference; empty without the extension.
    package private(set) var identities: [Identity] = []
    /// The application protocols that it offers, empty without the extension (RFC 7301).
    package private(set) var applicationProtocols: [[UInt8]] = []
    /// The versions that it offers, newest first as a rule; empty without the extension, which means TLS 1.2 or older.
    package private(set) var versions: [UInt16] = []
    /// The largest record that it takes (RFC 8449), where it says so.
    package private(set) var recordSizeLimit: UInt16?

    private static let preSharedKeyExtension: UInt16 = 41
    private static let supportedVersionsExtension: UInt16 = 43

    /// Reads a ClientHello's body, without the four bytes of the handshake header.
    package init(from bytes: Span<UInt8>) throws(WireError) {
        var reader = ByteReader(to: bytes.count)
        _ = try reader.unsigned16("legacy version", in: bytes)
        _ = try reader.range(32, "random")
        _ = try reader.range(Int(try reader.unsigned8("session id", in: bytes)), "session id")
        _ = try reader.prefixedRange("cipher suites", limit: 65_534, in: bytes)
        _ = try reader.range(Int(try reader.unsigned8("compression methods", in: bytes)), "compression methods")
        guard reader.remaining > 0 else { return }
        let extensions = try TLSExtensions(with: &reader, from: bytes)
        try reader.finish("ClientHello")
        for entry in extensions.entries { try take(entry, from: bytes) }
    }

    private mutating func take(_ entry: TLSExtensions.Entry, from bytes: Span<UInt8>) throws(WireError) {
        var reader = ByteReader(from: entry.body.lowerBound, to: entry.body.upperBound)
        switch entry.type {
        case Self.preSharedKeyExtension: identities = try Self.identities(with: &reader, from: bytes)
        case TLSExtensions.applicationProtocol: applicationProtocols = try reader.protocols(from: bytes)
        case Self.supportedVersionsExtension: versions = try Self.versions(with: &reader, from: bytes)
        case TLSExtensions.recordSizeLimit: recordSizeLimit = try reader.unsigned16("record size limit", in: bytes)
        default: return
        }
    }

    private static func identities(
        with reader: inout ByteReader, from bytes: Span<UInt8>
    ) throws(WireError) -> [Identity] {
        let list = try reader.prefixedRange("PSK identities", limit: 65_535, in: bytes)
        var inner = ByteReader(from: list.lowerBound, to: list.upperBound)
        var found: [Identity] = []
        while inner.remaining > 0 {
            let name = try inner.prefixedBytes("PSK identity", limit: 65_535, in: bytes)
            found.append(Identity(name: name, obfuscatedAge: try inner.unsigned32("ticket age", in: bytes)))
        }
        // The binders that follow are the library's to check.
        return found
    }

    private static func versions(with reader: inout ByteReader, from bytes: Span<UInt8>) throws(WireError) -> [UInt16] {
        let count = Int(try reader.unsigned8("supported versions", in: bytes))
        let list = try reader.range(count, "supported versions")
        var inner = ByteReader(from: list.lowerBound, to: list.upperBound)
        var found: [UInt16] = []
        while inner.remaining > 0 { found.append(try inner.unsigned16("supported version", in: bytes)) }
        return found
    }
}

/// A list of TLS extensions (RFC 8446 §4.2), as hellos and EncryptedExtensions have it.
package struct TLSExtensions: Sendable, Equatable {
    package struct Entry: Sendable, Equatable {
        package let type: UInt16
        /// Where its body lies in the message.
        package let body: Range<Int>
    }

    package private(set) var entries: [Entry] = []

    /// RFC 7301.
    static let applicationProtocol: UInt16 = 16
    /// RFC 8449.
    static let recordSizeLimit: UInt16 = 28

    /// Reads a list with its length before it. No type may stand twice.
    package init(with reader: inout ByteReader, from bytes: Span<UInt8>) throws(WireError) {
        let list = try reader.prefixedRange("extensions", limit: 65_535, in: bytes)
        var inner = ByteReader(from: list.lowerBound, to: list.upperBound)
        var seen = Set<UInt16>()
        while inner.remaining > 0 {
            let start = inner.offset
            let type = try inner.unsigned16("extension", in: bytes)
            guard seen.insert(type).inserted else { throw .duplicate(field: "extension \(type)", offset: start) }
            entries.append(Entry(type: type, body: try inner.prefixedRange("extension", limit: 65_535, in: bytes)))
        }
    }
}

/// What a client must know of a server's EncryptedExtensions before its TLS library looks at them (RFC 8446 §4.3.1).
package struct EncryptedExtensions: Sendable, Equatable {
    /// The application protocol that the server chose; `nil` where it chose none (RFC 7301).
    package private(set) var applicationProtocol: [UInt8]?
    /// The largest record that it takes; `nil` where it states no limit (RFC 8449).
    package private(set) var recordSizeLimit: UInt16?

    /// Reads the message's body, without the four bytes of the handshake header.
    package init(from bytes: Span<UInt8>) throws(WireError) {
        var reader = ByteReader(to: bytes.count)
        let extensions = try TLSExtensions(with: &reader, from: bytes)
        try reader.finish("EncryptedExtensions")
        for entry in extensions.entries {
            var body = ByteReader(from: entry.body.lowerBound, to: entry.body.upperBound)
            switch entry.type {
            case TLSExtensions.recordSizeLimit: recordSizeLimit = try body.unsigned16("record size limit", in: bytes)
            case TLSExtensions.applicationProtocol:
                let chosen = try body.protocols(from: bytes)
                guard chosen.count == 1 else {
                    throw .outOfRange(field: "application protocols", offset: entry.body.lowerBound)
                }
                applicationProtocol = chosen[0]
            default: continue
            }
        }
    }
}

extension ByteReader {
    /// A list of application protocols with its length before it (RFC 7301 §3.1).
    fileprivate mutating func protocols(from bytes: Span<UInt8>) throws(WireError) -> [[UInt8]] {
        let list = try prefixedRange("application protocols", limit: 65_535, in: bytes)
        var inner = ByteReader(from: list.lowerBound, to: list.upperBound)
        var found: [[UInt8]] = []
        while inner.remaining > 0 {
            let count = Int(try inner.unsigned8("application protocol", in: bytes))
            found.append(try inner.range(count, "application protocol").map { bytes[$0] })
        }
        return found
    }
}
