import Glibc
import Handshake
import Policy
import TestSupport
import Testing

@testable import System
@testable import Unconfined
@testable import Upcall

@Suite("Errors of upcalls")
struct UpcallErrorTests {
    @Test(
        "a kernel without the family is told to be newer only if it is too old",
        arguments: [
            ("5.10.0-rc1", true), ("6.4.16", true), ("6.5.0", false), ("6.18.1-generic", false), ("7.2", false),
        ])
    func familyMissing(kernel: String, isOld: Bool) {
        let text = UpcallError.familyMissing(kernel: kernel).description
        let remedy = isOld ? "use Linux 6.5 or later, built with" : "use one that was built with"
        #expect(text.hasPrefix("kernel \(kernel) offers no TLS handshake upcall: \(remedy) CONFIG_NET_HANDSHAKE, "))
    }
}

@Suite("Upcall over netlink")
struct NetlinkUpcallTests {
    private static let serverPSK: [(UInt16, UInt32)] = [(3, 2), (5, 2)]

    /// A descriptor as ACCEPT would install it: ours to answer.
    private func consumerSocket(of connection: borrowing LoopbackConnection) throws -> Int32 {
        try connection.server.duplicate().release()
    }

    @Test("every request that waits is taken, described, and answered with DONE before its descriptor is closed")
    func drain() throws {
        let connection = try LoopbackConnection()
        let kernel = ScriptedKernel()
        let sockets = [try consumerSocket(of: connection), try consumerSocket(of: connection)]
        kernel.waiting = sockets.map { .request(socket: $0, attributes: Self.serverPSK) }
        let upcall = kernel.upcall
        var accepted: [AcceptedHandshake] = []
        #expect(upcall.drain { accepted.append($0) } == [])
        #expect(accepted.map(\.number) == sockets && kernel.accepts == 3)
        let first = try #require(accepted.first)
        let expected = HandshakeRequest(transport: .netlink, role: .server, authentication: .preSharedKey)
        #expect(first.request == .success(expected))
        let port = try SocketFacts.localPort(of: connection.client.number)
        #expect(first.peerAddress == "127.0.0.1:\(port)")
        #expect(first.localPort == (try SocketFacts.localPort(of: connection.server.number)))

        try upcall.answer(accepted[0], status: .success, remoteIdentity: KeySerial(77))
        try upcall.answer(accepted[1], status: .accessDenied, remoteIdentity: KeySerial(77))
        #expect(
            kernel.verdicts == [
                ScriptedKernel.Verdict(socket: sockets[0], status: 0, remoteIdentity: 77, wasOpen: true),
                // No identity for a peer that was refused.
                ScriptedKernel.Verdict(socket: sockets[1], status: 13, remoteIdentity: nil, wasOpen: true),
            ])
        #expect(accepted.allSatisfy { $0.number == -1 })
    }

    @Test("the descriptor is closed after the answer, also when the kernel refuses DONE")
    func closed() throws {
        let connection = try LoopbackConnection()
        let kernel = ScriptedKernel()
        kernel.doneError = EBADF
        let name = try #require(ProcessTable.target(of: "/proc/self/fd/\(connection.server.number)"))
        let socket = try consumerSocket(of: connection)
        #expect(openDescriptors(to: name) == 2)
        kernel.waiting = [.request(socket: socket, attributes: Self.serverPSK)]
        let upcall = kernel.upcall
        var accepted: AcceptedHandshake?
        #expect(upcall.drain { accepted = $0 } == [])
        let handshake = try #require(accepted)
        #expect(throws: UpcallError.rejected(command: "DONE", number: Errno(EBADF), text: nil)) {
            try upcall.answer(handshake, status: .success, remoteIdentity: nil)
        }
        #expect(openDescriptors(to: name) == 1)
    }

    @Test(
        "a request that the kernel lost is reported, and the next is taken all the same",
        arguments: [EMFILE, EACCES, ENOMEM])
    func lost(number: Int32) throws {
        let connection = try LoopbackConnection()
        let kernel = ScriptedKernel()
        kernel.waiting = [
            .error(number), .silence, .request(socket: try consumerSocket(of: connection), attributes: Self.serverPSK),
        ]
        let upcall = kernel.upcall
        var accepted: [AcceptedHandshake] = []
        let problems = upcall.drain { accepted.append($0) }
        #expect(
            problems == [.rejected(command: "ACCEPT", number: Errno(number), text: nil), .noReply(command: "ACCEPT")])
        #expect(accepted.count == 1)
        for handshake in accepted { try upcall.answer(handshake, status: .inputOutput, remoteIdentity: nil) }
    }

    @Test("what is wrong with ACCEPT itself ends the drain at once, and says what helps")
    func notPermitted() {
        let kernel = ScriptedKernel()
        kernel.waiting = [.error(EPERM), .error(EPERM)]
        let problems = kernel.upcall.drain { _ in Issue.record("nothing was handed over") }
        #expect(problems == [.rejected(command: "ACCEPT", number: .eperm, text: nil)])
        #expect(kernel.accepts == 1)
        #expect(problems.first?.description.contains("CAP_NET_ADMIN") == true)
    }

    @Test("a kernel that only fails does not hold the daemon for ever")
    func endless() {
        let kernel = ScriptedKernel()
        kernel.waiting = Array(repeating: .error(ENOMEM), count: 1000)
        #expect(kernel.upcall.drain { _ in }.count == 64)
    }

    @Test("one drain takes so many requests and no more; whether others wait can be asked")
    func batch() throws {
        let connection = try LoopbackConnection()
        let kernel = ScriptedKernel()
        kernel.waiting = try (0..<100).map { _ in
            .request(socket: try consumerSocket(of: connection), attributes: Self.serverPSK)
        }
        let upcall = kernel.upcall
        var taken = 0
        func drain() {
            let problems = upcall.drain { accepted in
                taken += 1
                try? upcall.answer(accepted, status: .accessDenied, remoteIdentity: nil)
            }
            #expect(problems == [])
        }
        drain()
        #expect(taken == 64 && upcall.isBehind)
        drain()
        #expect(taken == 100 && !upcall.isBehind)
        upcall.retire()
        #expect(!upcall.isBehind)
    }

    @Test("a request that cannot be understood comes with the failure to answer it with")
    func malformed() throws {
        let connection = try LoopbackConnection()
        let kernel = ScriptedKernel()
        kernel.waiting = [.request(socket: try consumerSocket(of: connection), attributes: [(3, 9), (5, 2)])]
        let upcall = kernel.upcall
        var accepted: AcceptedHandshake?
        #expect(upcall.drain { accepted = $0 } == [])
        let handshake = try #require(accepted)
        guard case .failure(let failure) = handshake.request else {
            Issue.record("the request passed")
            return
        }
        #expect(failure.reason == .requestMalformed && failure.detail.contains("message type"))
        try upcall.answer(handshake, status: failure.reason.row.status, remoteIdentity: nil)
        #expect(kernel.verdicts.map(\.status) == [22])
    }

    @Test("a socket that is not TCP comes with the failure to answer it with")
    func notTCP() throws {
        let kernel = ScriptedKernel()
        let udp = socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
        kernel.waiting = [.request(socket: udp, attributes: Self.serverPSK)]
        let upcall = kernel.upcall
        var accepted: AcceptedHandshake?
        #expect(upcall.drain { accepted = $0 } == [])
        let handshake = try #require(accepted)
        #expect(handshake.request == .failure(HandshakeFailure(.socketUnsupported, "transport protocol 17")))
        try upcall.answer(handshake, status: .notSupported, remoteIdentity: nil)
    }

    @Test("notifications are emptied, and their overrun is no problem but a reason to look")
    func overrun() throws {
        let connection = try LoopbackConnection()
        let kernel = ScriptedKernel()
        kernel.notifications.failures = [ENOBUFS]
        kernel.notifications.queue = [[1], [2], [3]]
        kernel.waiting = [.request(socket: try consumerSocket(of: connection), attributes: Self.serverPSK)]
        let upcall = kernel.upcall
        var accepted: [AcceptedHandshake] = []
        #expect(upcall.drain { accepted.append($0) } == [])
        #expect(accepted.count == 1 && kernel.notifications.queue.isEmpty)
        for handshake in accepted { try upcall.answer(handshake, status: .inputOutput, remoteIdentity: nil) }
    }

    @Test("answers to other requests are passed over")
    func sequence() throws {
        let connection = try LoopbackConnection()
        let kernel = ScriptedKernel()
        kernel.requests.queue = [ScriptedKernel.error(EAGAIN, 4_000_000_000)]
        kernel.waiting = [.request(socket: try consumerSocket(of: connection), attributes: Self.serverPSK)]
        let upcall = kernel.upcall
        var accepted: [AcceptedHandshake] = []
        #expect(upcall.drain { accepted.append($0) } == [])
        #expect(accepted.count == 1)
        for handshake in accepted { try upcall.answer(handshake, status: .inputOutput, remoteIdentity: nil) }
    }

    @Test("on the real kernel the family is either found, and nothing waits, or its absence is named")
    func realKernel() {
        do throws(UpcallError) {
            let upcall = try NetlinkUpcall()
            #expect(upcall.descriptors.allSatisfy { fcntl($0, F_GETFD) >= 0 })
            print("this kernel has the family handshake")
        } catch {
            print("this kernel: \(error.description)")
            #expect(error == .familyMissing(kernel: Kernel.release()))
            #expect(error.description.contains("CONFIG_NET_HANDSHAKE"))
        }
    }

    @Test("libnl resolves a family that every kernel has, and knows one that none has")
    func resolve() throws {
        let socket = try NetlinkSocket()
        #expect(try socket.resolve(family: "nlctrl") == 16)
        #expect(try socket.resolve(family: "no-such-family") == nil)
        #expect(try socket.receive() == nil)
    }

    @Test("dropping a request without an answer stops a debug build")
    func dropped() async {
        await #expect(processExitsWith: .failure) {
            let connection = try LoopbackConnection()
            let socket = try connection.server.duplicate()
            _ = AcceptedHandshake(
                socket: socket,
                request: .success(
                    HandshakeRequest(transport: .netlink, role: .server, authentication: .preSharedKey)))
        }
    }
}
