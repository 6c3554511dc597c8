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
