import KernelWire
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

    /// The same with what the kernel tells of its memory: 768 bytes are received and not read.
    static let memory: [UInt8] =
        [0x68] + socket[1...] + hex("28 00 00 00  00 03 00 00") + [UInt8](repeating: 7, count: 32)

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
        #expect(socket.unread == 0)
        #expect(try Self.read(Self.memory).unread == 768)
    }

    @Test("what is unread is not made up where the message is cut or damaged")
    func damagedMemory() throws {
        for length in Self.socket.count..<Self.memory.count {
            var bytes = Array(Self.memory.prefix(length))
            bytes[0] = UInt8(length)
            guard let socket = try? Self.read(bytes) else { continue }
            #expect(length == Self.socket.count && socket.unread == 0)
        }
        for bit in 0..<(Self.memory.count * 8) {
            var bytes = Self.memory
            bytes[bit / 8] ^= 1 << UInt8(bit % 8)
            // Whatever it becomes: it is read within its bounds, or refused.
            _ = try? NetlinkMessage.all(in: bytes.span).map { try NetlinkDiagnostics(from: $0, in: bytes.span) }
        }
        var short = Self.socket + hex("06 00 00 00  00 03 00 00")
        short[0] = UInt8(short.count)
        #expect(throws: WireError.self) { try Self.read(short) }
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
            10 10 00 00  00 00 00 00  03 00 00 00  00 00 00 00  00 00 00 00
            """)
        #expect(NetlinkDiagnostics.request(sequence: 7) == expected)
    }
}
