import CLinux
import Glibc
import Testing

@testable import System
@testable import Unconfined

/// Whether ::1 can be bound here.
private let hasIPv6: Bool = {
    do throws(SystemError) {
        _ = try LoopbackConnection(AF_INET6).client.number
        return true
    } catch {
        print("IPv6 test skipped: \(error.description)")
        return false
    }
}()

@Suite("Facts about sockets")
struct SocketAddressTests {
    @Test("an IPv4 peer is shown as address and port, and the transport is TCP")
    func ipv4() throws {
        let connection = try LoopbackConnection(AF_INET)
        let port = try SocketFacts.localPort(of: connection.server.number)
        #expect(try SocketFacts.peerAddress(of: connection.client.number) == "127.0.0.1:\(port)")
        #expect(try SocketFacts.transportProtocol(of: connection.client.number) == 6)
    }

    @Test("an IPv6 peer's address stands in brackets", .enabled(if: hasIPv6, "needs ::1 on the loopback interface"))
    func ipv6() throws {
        let connection = try LoopbackConnection(AF_INET6)
        let port = try SocketFacts.localPort(of: connection.server.number)
        #expect(try SocketFacts.peerAddress(of: connection.client.number) == "[::1]:\(port)")
    }

    @Test("a peer that is gone, and a socket of another family, are errors with a name")
    func unknown() throws {
        let unconnected = OwnedDescriptor(adopting: socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0))
        #expect(throws: SystemError("getpeername", ENOTCONN)) { try SocketFacts.peerAddress(of: unconnected.number) }
        var pair = try MessageChannel.pair()
        let end = pair.takeFirst()
        #expect(throws: SystemError("getsockname", EAFNOSUPPORT)) { try SocketFacts.localPort(of: end.number) }
        #expect(throws: SystemError.self) { try SocketFacts.transportProtocol(of: -1) }
    }
}
