package import Wire

/// One message of a netlink datagram with its payload unparsed.
package struct NetlinkMessage: Sendable, Equatable {
    package let type: UInt16
    package let flags: UInt16
    /// Sequence number of the request that it answers; 0 for a notification.
    package let sequence: UInt32
    package let port: UInt32
    /// Range of the bytes after the header.
    package let payload: Range<Int>

    /// All messages of a datagram.
    package static func all(in bytes: Span<UInt8>) throws(WireError) -> [NetlinkMessage] {
        var reader = ByteReader(to: bytes.count)
        var found: [NetlinkMessage] = []
        while reader.remaining > 0 {
            let start = reader.offset
            let length = Int(try reader.hostUnsigned32("message length", in: bytes))
            let type = try reader.hostUnsigned16("message type", in: bytes)
            let flags = try reader.hostUnsigned16("message flags", in: bytes)
            let sequence = try reader.hostUnsigned32("message sequence", in: bytes)
            let port = try reader.hostUnsigned32("message port", in: bytes)
            guard length >= NetlinkNumber.messageHeader else {
                throw .outOfRange(field: "message length", offset: start)
            }
            let payload = try reader.range(length - NetlinkNumber.messageHeader, "message")
            found.append(
                NetlinkMessage(type: type, flags: flags, sequence: sequence, port: port, payload: payload))
            try reader.align(from: start)
        }
        return found
    }
}

/// NLMSG_ERROR: the result of a request (include/uapi/linux/netlink.h, struct nlmsgerr).
package struct NetlinkAcknowledgement: Sendable, Equatable {
    /// A positive errno; 0 for success.
    package let number: Int32
    /// The kernel's extended error text, if any.
    package let text: String?

    /// Parses the payload of a message of type `NetlinkNumber.error`.
    package init(from message: NetlinkMessage, in bytes: Span<UInt8>) throws(WireError) {
        var reader = ByteReader(from: message.payload.lowerBound, to: message.payload.upperBound)
        let start = reader.offset
        let negative = Int32(bitPattern: try reader.hostUnsigned32("error number", in: bytes))
        guard negative <= 0, negative > -4096 else { throw .outOfRange(field: "error number", offset: start) }
        number = -negative
        let requestStart = reader.offset
        let length = Int(try reader.hostUnsigned32("request length", in: bytes))
        _ = try reader.range(NetlinkNumber.messageHeader - 4, "request header")
        guard message.flags & NetlinkNumber.explained != 0 else {
            text = nil
            return
        }
        if message.flags & NetlinkNumber.capped == 0 {
            guard length >= NetlinkNumber.messageHeader else {
                throw .outOfRange(field: "request length", offset: requestStart)
            }
            _ = try reader.range(length - NetlinkNumber.messageHeader, "request")
            try reader.align(from: requestStart)
        }
        let attributes = try NetlinkAttribute.all(in: reader.offset..<reader.end, of: bytes)
        let explanation = attributes.first { $0.type == NetlinkNumber.errorText }
        text = try explanation?.text("error text", in: bytes)
    }
}

/// A message of a generic-netlink family: its command and the range of its attributes (include/uapi/linux/genetlink.h).
package struct GenericNetlinkMessage: Sendable, Equatable {
    package let command: UInt8
    package let version: UInt8
    package let attributes: Range<Int>

    package init(from message: NetlinkMessage, in bytes: Span<UInt8>) throws(WireError) {
        var reader = ByteReader(from: message.payload.lowerBound, to: message.payload.upperBound)
        command = try reader.unsigned8("command", in: bytes)
        version = try reader.unsigned8("version", in: bytes)
        _ = try reader.range(2, "reserved")
        attributes = reader.offset..<reader.end
    }
}

/// Extensions of `ByteReader` and `ByteWriter` for netlink, which uses host byte order.
extension ByteReader {
    package mutating func hostUnsigned16(_ field: String, in bytes: Span<UInt8>) throws(WireError) -> UInt16 {
        // Read as big-endian; `bigEndian` swaps the bytes on a little-endian host.
        try unsigned16(field, in: bytes).bigEndian
    }

    package mutating func hostUnsigned32(_ field: String, in bytes: Span<UInt8>) throws(WireError) -> UInt32 {
        try unsigned32(field, in: bytes).bigEndian
    }

    /// Skips to the next multiple of four, counted from `start`, or to the end of the data.
    package mutating func align(from start: Int) throws(WireError) {
        let padding = -(offset - start) & 3
        _ = try range(min(padding, remaining), "padding")
    }
}

extension ByteWriter {
    package mutating func hostUnsigned16(_ value: UInt16, to bytes: inout MutableSpan<UInt8>) throws(WireError) {
        try unsigned16(value.bigEndian, to: &bytes)
    }

    package mutating func hostUnsigned32(_ value: UInt32, to bytes: inout MutableSpan<UInt8>) throws(WireError) {
        try unsigned32(value.bigEndian, to: &bytes)
    }
}

/// One netlink attribute: its number and the range of its value.
package struct NetlinkAttribute: Sendable, Equatable {
    /// Number without the flags in the two highest bits.
    package let type: UInt16
    package let value: Range<Int>

    /// All attributes in `range` of `bytes`, in order.
    ///
    /// - Throws: `WireError.truncated` if a header or value exceeds the range, `.outOfRange` for a length below that of
    ///   the header.
    package static func all(in range: Range<Int>, of bytes: Span<UInt8>) throws(WireError) -> [NetlinkAttribute] {
        var reader = ByteReader(from: range.lowerBound, to: range.upperBound)
        var found: [NetlinkAttribute] = []
        while reader.remaining > 0 {
            let start = reader.offset
            let length = Int(try reader.hostUnsigned16("attribute length", in: bytes))
            let type = try reader.hostUnsigned16("attribute type", in: bytes) & NetlinkNumber.typeMask
            guard length >= NetlinkNumber.attributeHeader else {
                throw .outOfRange(field: "attribute length", offset: start)
            }
            let value = try reader.range(length - NetlinkNumber.attributeHeader, "attribute \(type)")
            found.append(NetlinkAttribute(type: type, value: value))
            try reader.align(from: start)
        }
        return found
    }

    /// The value as a 32-bit integer; its length must be four bytes.
    package func unsigned32(_ field: String, in bytes: Span<UInt8>) throws(WireError) -> UInt32 {
        guard value.count == 4 else { throw .outOfRange(field: field, offset: value.lowerBound) }
        var reader = ByteReader(from: value.lowerBound, to: value.upperBound)
        return try reader.hostUnsigned32(field, in: bytes)
    }

    /// The value as a signed 32-bit integer; its length must be four bytes.
    package func signed32(_ field: String, in bytes: Span<UInt8>) throws(WireError) -> Int32 {
        Int32(bitPattern: try unsigned32(field, in: bytes))
    }

    /// The value as text with exactly one NUL at its end; never empty.
    package func text(_ field: String, in bytes: Span<UInt8>) throws(WireError) -> String {
        let raw = value.map { bytes[$0] }
        guard raw.count > 1, raw.last == 0, !raw.dropLast().contains(0),
            let text = String(validating: raw.dropLast(), as: UTF8.self)
        else { throw .malformedText(field: field, offset: value.lowerBound) }
        return text
    }
}

/// The numbers of netlink and of the generic-netlink family `handshake` (include/uapi/linux/netlink.h, handshake.h).
/// Build hosts before Linux 6.4 have no header for the family.
package enum NetlinkNumber {
    /// Bytes of struct nlmsghdr: length u32, type u16, flags u16, sequence u32, port u32.
    package static let messageHeader = 16
    /// Bytes of struct genlmsghdr: command u8, version u8, reserved u16.
    package static let genericHeader = 4
    /// Bytes of struct nlattr: length u16, type u16.
    package static let attributeHeader = 4

    /// NLMSG_ERROR: an error, or an acknowledgement if the number is 0.
    package static let error: UInt16 = 2
    /// NLMSG_DONE: the end of a dump.
    package static let done: UInt16 = 3
    /// NLMSG_OVERRUN: data was lost.
    package static let overrun: UInt16 = 4

    /// NLM_F_REQUEST.
    package static let request: UInt16 = 0x01
    /// NLM_F_ACK: requests an acknowledgement of success.
    package static let acknowledge: UInt16 = 0x04
    /// NLM_F_CAPPED in an error: the request's payload is not repeated.
    package static let capped: UInt16 = 0x100
    /// NLM_F_ACK_TLVS in an error: attributes that explain it follow.
    package static let explained: UInt16 = 0x200

    /// Mask for the number of an attribute: without NLA_F_NESTED and NLA_F_NET_BYTEORDER.
    package static let typeMask: UInt16 = 0x3fff
    /// NLMSGERR_ATTR_MSG: the extended error text.
    package static let errorText: UInt16 = 1
}

/// The family `handshake`: name, version, and multicast group (include/uapi/linux/handshake.h).
package enum HandshakeFamily {
    package static let name = "handshake"
    package static let version: UInt8 = 1
    /// Multicast group of READY notifications.
    package static let group = "tlshd"
    /// HANDSHAKE_HANDLER_CLASS_TLSHD.
    package static let handlerClass: UInt32 = 1

    package enum Command: UInt8, Sendable, Equatable {
        /// Kernel to group: a request is pending.
        case ready = 1
        /// Takes the next request.
        case accept = 2
        /// Reports the result.
        case done = 3
    }

    /// Attributes of READY and ACCEPT.
    package enum AcceptAttribute: UInt16, Sendable, Equatable {
        /// s32; u32 when the family was first merged.
        case socket = 1
        /// u32.
        case handlerClass = 2
        /// u32: 1 for client, 2 for server.
        case messageType = 3
        /// u32, milliseconds from the consumer's request.
        case timeout = 4
        /// u32: 1 anonymous, 2 PSK, 3 x509.
        case authentication = 5
        /// u32, serial of a key; repeated for several identities, not nested.
        case peerIdentity = 6
        /// A nest of `CertificateAttribute`.
        case certificate = 7
        /// Text with its NUL; since Linux 6.5.
        case peerName = 8
        /// u32, serial of a keyring; since Linux 6.17.
        case keyring = 9
        /// u32, maximum number of session tags in DONE; in no released kernel yet.
        case mostTags = 10
    }

    /// Attributes in `AcceptAttribute.certificate`; s32, 0 for none.
    package enum CertificateAttribute: UInt16, Sendable, Equatable {
        case certificate = 1
        case privateKey = 2
    }

    /// Maximum number of session tags in DONE if the kernel does not state it.
    package static let mostTags = 64
    /// Maximum length of a session tag in bytes without its NUL.
    package static let longestTag = 255

    /// Attributes of DONE.
    package enum DoneAttribute: UInt16, Sendable, Equatable {
        /// u32, a positive errno up to 4095. Never omitted, because old kernels report a positive number without it.
        case status = 1
        /// s32.
        case socket = 2
        /// u32, serial of a key.
        case remoteIdentity = 3
        /// Text with its NUL, a session tag; repeated for several tags. In no released kernel yet; the number is that
        /// of ktls-utils.
        case tag = 4
    }
}
