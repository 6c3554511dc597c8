import Testing
import Wire

@Suite("What the kernel tells of netlink sockets")
struct NetlinkDiagnosticsTests {
    /// One socket of a dump on a little-endian machine: port 4711, inode 99, groups 7 and 66.
    static let socket = hex(
        """
        40 00 00 00  14 00 02 00  01 00 00 00  00 00 00 00
        10 03 10 07  67 12 00 00  00 00 00 00  00 00 00 00
        63 00 00 00  01 00 00 00  02 00 00 00
        14 00 01 00  40 00 00 00 00 00 00 00  02 00 00 00 00 00 00 00
        """)

    static func read(_ bytes: [UInt8]) throws -> NetlinkDiagnostics {
        let message = try #require(try NetlinkMessage.all(in: bytes.span).first)
        return try NetlinkDiagnostics(from: message, in: bytes.span)
    }

    @Test("port, inode and groups are read")
    func reads() throws {
        let socket = try Self.read(Self.socket)
        #expect(socket.port == 4711)
        #expect(socket.inode == 99)
        #expect((0...200).filter { socket.isMember(of: UInt32($0)) } == [7, 66])
        #expect(!socket.isMember(of: .max))
    }

    @Test("a message cut at any length is refused, or tells fewer groups")
    func truncated() throws {
        for length in 16..<Self.socket.count {
            var bytes = Array(Self.socket.prefix(length))
            bytes[0] = UInt8(length)
            guard let socket = try? Self.read(bytes) else { continue }
            #expect(length == 44 && !socket.isMember(of: 7))
        }
    }

    @Test("the request is what struct netlink_diag_req wants")
    func request() {
        let expected = hex(
            """
            24 00 00 00  14 00 01 03  07 00 00 00  00 00 00 00
            10 10 00 00  00 00 00 00  02 00 00 00  00 00 00 00  00 00 00 00
            """)
        #expect(NetlinkDiagnostics.request(sequence: 7) == expected)
    }
}
