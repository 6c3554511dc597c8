import Foundation
import Glibc
import System
import TestSupport

/// `openssl s_server` on a loopback port of the kernel's choice, which sends each line back reversed; killed when it
/// goes.
final class TLSServer {
    private let program: PeerProgram
    let port: UInt16

    /// - Parameters:
    ///   - certificate: a name of the PKI; none for PSK.
    ///   - namespace: name of the network namespace in which it runs; by default that of the tests.
    init(
        _ certificate: String?, _ more: [String] = [], address: String = "127.0.0.1", in namespace: String? = nil
    ) throws {
        let path = PKI.shared.path(certificate ?? "")
        let pair = certificate == nil ? ["-nocert"] : ["-cert", path + ".pem", "-key", path + ".key"]
        (program, port) = try PeerProgram.opensslServer(["-rev"] + pair + more, address: address, in: namespace)
    }
}

/// A listener that treats each connection as a test wants, on threads of its own.
final class FakeServer: Sendable {
    private let listener: Int32
    /// Signalled when nobody will use the listener's number any more.
    private let ended: DispatchSemaphore
    let port: UInt16

    /// - Parameter serve: is given each connection, and closes it by returning.
    init(_ serve: @escaping @Sendable (Int32) -> Void) throws {
        signal(SIGPIPE, SIG_IGN)
        let (number, port) = try Loopback.listen()
        listener = number
        self.port = port
        let ended = DispatchSemaphore(value: 0)
        self.ended = ended
        Thread.detachNewThread {
            defer { ended.signal() }
            while true {
                let connection = accept(number, nil, nil)
                guard connection >= 0 else { return }
                Thread.detachNewThread {
                    serve(connection)
                    close(connection)
                }
            }
        }
    }

    deinit {
        shutdown(listener, Int32(SHUT_RDWR))
        // Closed earlier, the number may be another test's listener when the thread comes back to accept.
        ended.wait()
        close(listener)
    }

    /// Sends all bytes.
    static func send(_ bytes: [UInt8], to connection: Int32) {
        _ = unsafe Glibc.send(connection, bytes, bytes.count, Int32(MSG_NOSIGNAL))
    }

    /// Reads some bytes; none at the end.
    static func receive(_ connection: Int32, _ room: Int = 4096) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: room)
        let count = unsafe recv(connection, &bytes, room, 0)
        return Array(bytes.prefix(max(0, count)))
    }

    /// A server of RPC that reads a call, answers it, and if `answer` says so passes the rest on to a TLS server.
    static func rpc(_ answer: [UInt8], then port: UInt16? = nil) throws -> FakeServer {
        try FakeServer { connection in
            let call = receive(connection)
            guard call.count == 44 else { return }
            // The transaction is the call's.
            send(Array(answer.prefix(4)) + call[4..<8] + answer.dropFirst(8), to: connection)
            guard let port else {
                _ = receive(connection)
                return
            }
            relay(connection, to: port)
        }
    }

    /// A server that passes everything on to another, whose answers it delays.
    static func relay(to port: UInt16, delayingAnswersBy delay: Duration) throws -> FakeServer {
        try FakeServer { relay($0, to: port, delay) }
    }

    /// MSG_ACCEPTED with the verifier STARTTLS.
    static let startTLS = words(0x8000_0020, 0, 1, 0, 0, 8) + Array("STARTTLS".utf8) + words(0)
    /// MSG_DENIED, AUTH_ERROR, AUTH_BADCRED.
    static let refused = words(0x8000_0014, 0, 1, 1, 1, 1)

    /// Numbers as XDR has them (RFC 4506 §4.2).
    private static func words(_ values: UInt32...) -> [UInt8] {
        values.flatMap { value in [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: value >> UInt32($0)) } }
    }

    private static func relay(_ near: Int32, to port: UInt16, _ delay: Duration = .zero) {
        guard let far = try? Loopback.connect(port) else { return }
        defer { close(far) }
        while true {
            var entries = [
                pollfd(fd: near, events: Int16(POLLIN), revents: 0), pollfd(fd: far, events: Int16(POLLIN), revents: 0),
            ]
            let count = unsafe poll(&entries, 2, 60_000)
            // Another test's setegid(2) interrupts every thread.
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { return }
            for (entry, other) in zip(entries, [far, near]) where entry.revents != 0 {
                let bytes = receive(entry.fd, 65_536)
                if bytes.isEmpty { return }
                if entry.fd == far { usleep(UInt32(delay / .microseconds(1))) }
                send(bytes, to: other)
            }
        }
    }
}
