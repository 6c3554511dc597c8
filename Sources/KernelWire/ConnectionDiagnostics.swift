package import Wire

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
        ends = local[2..<4] + peer[2..<4] + padded(local[place]) + padded(peer[place])
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
