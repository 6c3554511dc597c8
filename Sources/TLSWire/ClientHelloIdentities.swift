package import Wire

/// Fields of a ClientHello that a server needs before its TLS library answers (RFC 8446 §4.1.2).
package struct ClientHelloIdentities: Sendable, Equatable {
    /// One identity of the extension pre_shared_key (RFC 8446 §4.2.11).
    package struct Identity: Sendable, Equatable {
        package var name: [UInt8]
        /// 0 for external PSKs, other values for tickets.
        package var obfuscatedAge: UInt32

        package init(name: [UInt8], obfuscatedAge: UInt32) {
            self.name = name
            self.obfuscatedAge = obfuscatedAge
        }
    }

    /// Identities in the client's order of preference; empty without the extension.
    package private(set) var identities: [Identity] = []
    /// Number of binders, equal to the number of identities.
    package private(set) var binders = 0
    /// Offered application protocols; empty without the extension (RFC 7301).
    package private(set) var applicationProtocols: [[UInt8]] = []
    /// Offered versions, usually newest first; empty without the extension, that is TLS 1.2 or older.
    package private(set) var versions: [UInt16] = []
    /// record_size_limit (RFC 8449); `nil` without the extension.
    package private(set) var recordSizeLimit: UInt16?
    /// legacy_session_id, which the ServerHello repeats.
    package let session: [UInt8]
    /// legacy_compression_methods, which in TLS 1.3 is a single 0.
    package let compressionMethods: [UInt8]
    /// Types of all extensions.
    package private(set) var extensions: Set<UInt16> = []

    private static let supportedGroupsExtension: UInt16 = 10
    private static let signatureAlgorithmsExtension: UInt16 = 13
    private static let preSharedKeyExtension: UInt16 = 41
    private static let supportedVersionsExtension: UInt16 = 43
    private static let keyExchangeModesExtension: UInt16 = 45
    private static let keyShareExtension: UInt16 = 51

    /// Parses the body of a ClientHello, without the four bytes of the handshake header.
    package init(from bytes: Span<UInt8>) throws(WireError) {
        var reader = ByteReader(to: bytes.count)
        _ = try reader.unsigned16("legacy version", in: bytes)
        _ = try reader.range(32, "random")
        session = try reader.shortBytes("session id", in: bytes)
        _ = try reader.prefixedRange("cipher suites", limit: 65_534, in: bytes)
        compressionMethods = try reader.shortBytes("compression methods", in: bytes)
        guard reader.remaining > 0 else { return }
        let extensions = try TLSExtensions(with: &reader, from: bytes)
        try reader.finish("ClientHello")
        self.extensions = Set(extensions.entries.map(\.type))
        for entry in extensions.entries { try take(entry, from: bytes) }
    }

    /// An extension that is required in combination with the others and is missing; `nil` if none is (RFC 8446 §4.2.3,
    /// §4.2.9, §9.2).
    ///
    /// - Parameter certificate: true if the server authenticates with a certificate.
    package func missingExtension(for certificate: Bool) -> String? {
        func has(_ type: UInt16) -> Bool { extensions.contains(type) }
        let offersKey = has(Self.preSharedKeyExtension)
        if offersKey, !has(Self.keyExchangeModesExtension) { return "psk_key_exchange_modes" }
        if certificate || !offersKey, !has(Self.signatureAlgorithmsExtension) { return "signature_algorithms" }
        if !offersKey, !has(Self.supportedGroupsExtension) { return "supported_groups" }
        if has(Self.supportedGroupsExtension) != has(Self.keyShareExtension) {
            return has(Self.keyShareExtension) ? "supported_groups" : "key_share"
        }
        return nil
    }

    /// The session ID that the body of a ServerHello repeats; `nil` in one of TLS 1.2, whose session ID is its own.
    package static func session(inServerHello bytes: Span<UInt8>) throws(WireError) -> [UInt8]? {
        var reader = ByteReader(to: bytes.count)
        _ = try reader.range(2 + 32, "random")
        let session = try reader.shortBytes("session id", in: bytes)
        _ = try reader.range(2 + 1, "cipher suite")
        guard reader.remaining > 0 else { return nil }
        let extensions = try TLSExtensions(with: &reader, from: bytes)
        return extensions.entries.contains { $0.type == supportedVersionsExtension } ? session : nil
    }

    private mutating func take(_ entry: TLSExtensions.Entry, from bytes: Span<UInt8>) throws(WireError) {
        var reader = ByteReader(from: entry.body.lowerBound, to: entry.body.upperBound)
        switch entry.type {
        case Self.preSharedKeyExtension:
            identities = try Self.identities(with: &reader, from: bytes)
            binders = try Self.binders(with: &reader, from: bytes)
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
        guard !list.isEmpty else { throw .missing(field: "PSK identity") }
        var inner = ByteReader(from: list.lowerBound, to: list.upperBound)
        var found: [Identity] = []
        while inner.remaining > 0 {
            let start = inner.offset
            let name = try inner.prefixedBytes("PSK identity", limit: 65_535, in: bytes)
            guard !name.isEmpty else { throw .outOfRange(field: "PSK identity", offset: start) }
            found.append(Identity(name: name, obfuscatedAge: try inner.unsigned32("ticket age", in: bytes)))
        }
        return found
    }

    /// The library verifies the binders.
    private static func binders(with reader: inout ByteReader, from bytes: Span<UInt8>) throws(WireError) -> Int {
        let list = try reader.prefixedRange("PSK binders", limit: 65_535, in: bytes)
        try reader.finish("pre_shared_key")
        var inner = ByteReader(from: list.lowerBound, to: list.upperBound)
        var count = 0
        repeat {
            let start = inner.offset
            guard try inner.shortBytes("PSK binder", in: bytes).count >= 32 else {
                throw .outOfRange(field: "PSK binder", offset: start)
            }
            count += 1
        } while inner.remaining > 0
        return count
    }

    private static func versions(with reader: inout ByteReader, from bytes: Span<UInt8>) throws(WireError) -> [UInt16] {
        let count = Int(try reader.unsigned8("supported versions", in: bytes))
        let list = try reader.range(count, "supported versions")
        var inner = ByteReader(from: list.lowerBound, to: list.upperBound)
        var found: [UInt16] = []
        repeat { found.append(try inner.unsigned16("supported version", in: bytes)) } while inner.remaining > 0
        return found
    }
}

/// A list of TLS extensions (RFC 8446 §4.2), as in hello messages and EncryptedExtensions.
package struct TLSExtensions: Sendable, Equatable {
    package struct Entry: Sendable, Equatable {
        package let type: UInt16
        /// Range of its body in the message.
        package let body: Range<Int>
    }

    package private(set) var entries: [Entry] = []

    /// application_layer_protocol_negotiation (RFC 7301).
    static let applicationProtocol: UInt16 = 16
    /// record_size_limit (RFC 8449).
    static let recordSizeLimit: UInt16 = 28

    /// Parses a list that is preceded by its length. Repeated types are an error.
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

/// Fields of EncryptedExtensions that a client needs before its TLS library parses them (RFC 8446 §4.3.1).
package struct EncryptedExtensions: Sendable, Equatable {
    /// The application protocol that the server selected; `nil` if it selected none (RFC 7301).
    package private(set) var applicationProtocol: [UInt8]?
    /// record_size_limit (RFC 8449); `nil` without the extension.
    package private(set) var recordSizeLimit: UInt16?
    /// Types of all extensions.
    package let extensions: [UInt16]

    /// Parses the body of the message, without the four bytes of the handshake header.
    package init(from bytes: Span<UInt8>) throws(WireError) {
        var reader = ByteReader(to: bytes.count)
        let list = try TLSExtensions(with: &reader, from: bytes)
        try reader.finish("EncryptedExtensions")
        extensions = list.entries.map(\.type)
        for entry in list.entries {
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
    /// A list of application protocols that is preceded by its length (RFC 7301 §3.1).
    fileprivate mutating func protocols(from bytes: Span<UInt8>) throws(WireError) -> [[UInt8]] {
        let list = try prefixedRange("application protocols", limit: 65_535, in: bytes)
        var inner = ByteReader(from: list.lowerBound, to: list.upperBound)
        var found: [[UInt8]] = []
        repeat {
            let start = inner.offset
            let name = try inner.shortBytes("application protocol", in: bytes)
            guard !name.isEmpty else { throw .outOfRange(field: "application protocol", offset: start) }
            found.append(name)
        } while inner.remaining > 0
        return found
    }
}
