package import Wire

/// A netlink socket in the kernel's socket diagnostics (include/uapi/linux/netlink_diag.h).
package struct NetlinkDiagnostics: Sendable, Equatable {
    /// NETLINK_SOCK_DIAG.
    package static let netlinkProtocol: Int32 = 4
    /// SOCK_DIAG_BY_FAMILY.
    private static let byFamily: UInt16 = 20
    /// NLM_F_ROOT | NLM_F_MATCH.
    private static let dump: UInt16 = 0x300
    private static let netlinkFamily: UInt8 = 16
    private static let generic: UInt8 = 16
    /// NDIAG_SHOW_MEMINFO | NDIAG_SHOW_GROUPS.
    private static let show: UInt32 = 3
    /// NETLINK_DIAG_MEMINFO, whose first number is SK_MEMINFO_RMEM_ALLOC (include/uapi/linux/sock_diag.h).
    private static let memoryAttribute: UInt16 = 0
    /// NETLINK_DIAG_GROUPS.
    private static let groupsAttribute: UInt16 = 1

    package let port: UInt32
    package let inode: UInt64
    /// Memory of messages that were sent to the socket and are not read yet, in bytes; 0 if the kernel does not report
    /// it.
    package let unread: UInt32
    /// Bitmap of multicast groups. On a little-endian machine the lowest bit of the first byte is group 1.
    private let groups: [UInt8]

    /// Writes the request for all generic-netlink sockets of the namespace, with their groups and memory.
    package static func request(sequence: UInt32) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: NetlinkNumber.messageHeader + 20)
        var span = bytes.mutableSpan
        var writer = ByteWriter("diagnostics request")
        // Cannot overflow: the size is the sum of what is written.
        try? write(with: &writer, UInt32(span.count), sequence, to: &span)
        return bytes
    }

    private static func write(
        with writer: inout ByteWriter, _ length: UInt32, _ sequence: UInt32, to span: inout MutableSpan<UInt8>
    ) throws(WireError) {
        try writer.hostUnsigned32(length, to: &span)
        try writer.hostUnsigned16(byFamily, to: &span)
        try writer.hostUnsigned16(NetlinkNumber.request | dump, to: &span)
        try writer.hostUnsigned32(sequence, to: &span)
        try writer.hostUnsigned32(0, to: &span)
        try writer.unsigned8(netlinkFamily, to: &span)
        try writer.unsigned8(generic, to: &span)
        try writer.hostUnsigned16(0, to: &span)
        try writer.hostUnsigned32(0, to: &span)
        try writer.hostUnsigned32(show, to: &span)
        // The cookie is not compared in a dump.
        try writer.hostUnsigned32(0, to: &span)
        try writer.hostUnsigned32(0, to: &span)
    }

    /// Parses one message of the answer.
    package init(from message: NetlinkMessage, in bytes: Span<UInt8>) throws(WireError) {
        var reader = ByteReader(from: message.payload.lowerBound, to: message.payload.upperBound)
        _ = try reader.range(4, "family, type, protocol, state")
        port = try reader.hostUnsigned32("port", in: bytes)
        _ = try reader.range(8, "destination")
        inode = UInt64(try reader.hostUnsigned32("inode", in: bytes))
        _ = try reader.range(8, "cookie")
        let attributes = try NetlinkAttribute.all(in: reader.offset..<reader.end, of: bytes)
        if let memory = attributes.first(where: { $0.type == Self.memoryAttribute }) {
            var reader = ByteReader(from: memory.value.lowerBound, to: memory.value.upperBound)
            unread = try reader.hostUnsigned32("memory of what is received", in: bytes)
        } else {
            unread = 0
        }
        let found = attributes.first { $0.type == Self.groupsAttribute }
        groups = found.map { attribute in attribute.value.map { bytes[$0] } } ?? []
    }

    /// Returns `true` if the socket is a member of a multicast group. The first group has number 1.
    package func isMember(of group: UInt32) -> Bool {
        guard group > 0 else { return false }
        let bit = Int(group - 1)
        // The kernel's bitmap consists of 64-bit words in host byte order.
        let index = UInt16(1).littleEndian == 1 ? bit / 8 : bit / 64 * 8 + 7 - bit % 64 / 8
        return index < groups.count && groups[index] >> UInt8(bit % 8) & 1 == 1
    }
}

/// A TCP connection, and the request for its state from the kernel's socket diagnostics
/// (include/uapi/linux/inet_diag.h).
package struct ConnectionDiagnostics: Sendable, Hashable {
    /// SOCK_DIAG_BY_FAMILY.
    private static let byFamily: UInt16 = 20
    private static let tcp: UInt8 = 6
    /// TCP_ESTABLISHED (include/net/tcp_states.h).
    private static let established: UInt8 = 1

    /// AF_INET or AF_INET6.
    private let family: UInt8
    /// The start of struct inet_diag_sockid: ports and addresses in network order.
    private let ends: [UInt8]
    private let cookie: UInt64

    /// - Parameters:
    ///   - local: struct sockaddr_in or sockaddr_in6 of our end.
    ///   - peer: struct sockaddr of the other end.
    ///   - cookie: the socket cookie (SO_COOKIE), so that a later connection between the same ports does not match.
    /// - Returns: `nil` for other address families.
    package init?(local: [UInt8], peer: [UInt8], cookie: UInt64) {
        // sa_family is in host byte order, and one of its bytes is 0.
        guard local.count >= 4, local.prefix(2) == peer.prefix(2), let place = Self.addresses[local[0] | local[1]],
            local.count >= place.upperBound, peer.count >= place.upperBound
        else { return nil }
        family = local[0] | local[1]
        self.cookie = cookie
        func padded(_ bytes: ArraySlice<UInt8>) -> [UInt8] { bytes + [UInt8](repeating: 0, count: 16 - bytes.count) }
        ends = Array(local[2..<4] + peer[2..<4]) + padded(local[place]) + padded(peer[place])
    }

    /// Offset of the address in the struct sockaddr of each family.
    private static let addresses: [UInt8: Range<Int>] = [2: 4..<8, 10: 8..<24]

    /// Writes the request for exactly this connection.
    package func request(sequence: UInt32) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: NetlinkNumber.messageHeader + 8 + ends.count + 12)
        var span = bytes.mutableSpan
        var writer = ByteWriter("diagnostics request")
        // Cannot overflow: the size is the sum of what is written.
        try? write(with: &writer, UInt32(span.count), sequence, to: &span)
        return bytes
    }

    private func write(
        with writer: inout ByteWriter, _ length: UInt32, _ sequence: UInt32, to span: inout MutableSpan<UInt8>
    ) throws(WireError) {
        try writer.hostUnsigned32(length, to: &span)
        try writer.hostUnsigned16(Self.byFamily, to: &span)
        try writer.hostUnsigned16(NetlinkNumber.request, to: &span)
        try writer.hostUnsigned32(sequence, to: &span)
        try writer.hostUnsigned32(0, to: &span)
        try writer.unsigned8(family, to: &span)
        try writer.unsigned8(Self.tcp, to: &span)
        try writer.hostUnsigned16(0, to: &span)
        // Any state.
        try writer.hostUnsigned32(.max, to: &span)
        for byte in ends { try writer.unsigned8(byte, to: &span) }
        // Any interface.
        try writer.hostUnsigned32(0, to: &span)
        try writer.hostUnsigned32(UInt32(truncatingIfNeeded: cookie), to: &span)
        try writer.hostUnsigned32(UInt32(truncatingIfNeeded: cookie >> 32), to: &span)
    }

    /// Returns `true` if the connection in the answer is established, so that it carries data in both directions.
    package static func isEstablished(_ message: NetlinkMessage, in bytes: Span<UInt8>) throws(WireError) -> Bool {
        var reader = ByteReader(from: message.payload.lowerBound, to: message.payload.upperBound)
        _ = try reader.unsigned8("family", in: bytes)
        return try reader.unsigned8("state", in: bytes) == established
    }
}
