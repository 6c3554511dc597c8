import CLinux
import Glibc
import System
import TestSupport

/// Stands between the engine and its peer and cuts the stream in other pieces than they do. Call `pump` again and
/// again.
final class Relay {
    enum Style {
        /// As it comes.
        case unchanged
        /// One byte at a time.
        case bytewise
        /// All in one piece, as soon as what has come fits.
        case gathered(until: ([UInt8]) -> Bool)
    }

    /// The engine's end.
    let near: Int32
    private let inner: Int32
    private let far: Int32
    var toEngine: Style
    private var fromPeer: [UInt8] = []

    /// - Parameters:
    ///   - far: the socket to the peer, taken over.
    ///   - toEngine: how the peer's bytes reach the engine; the other way they pass as they come.
    init(to far: Int32, _ toEngine: Style) throws {
        (near, inner) = try Loopback.pair()
        self.far = far
        self.toEngine = toEngine
        for socket in [inner, far] { _ = fcntl(socket, F_SETFL, O_NONBLOCK) }
        for socket in [inner, far] { Loopback.sendAtOnce(socket) }
    }

    deinit {
        close(inner)
        close(far)
    }

    func pump() {
        forward(read(inner), to: far)
        fromPeer += read(far)
        guard !fromPeer.isEmpty else { return }
        switch toEngine {
        case .unchanged:
            forward(fromPeer, to: inner)
            fromPeer = []
        case .bytewise:
            // The engine's next read finds exactly one byte.
            guard Loopback.waiting(near) == 0 else { return }
            forward([fromPeer.removeFirst()], to: inner)
        case .gathered(let isWhole):
            guard isWhole(fromPeer) else { return }
            forward(fromPeer, to: inner)
            fromPeer = []
        }
    }

    /// Pumps until something has reached the engine.
    func pumpThrough() throws {
        try wait {
            pump()
            return Loopback.waiting(near) > 0
        }
    }

    private func read(_ socket: Int32) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 65_536)
        let count = unsafe recv(socket, &bytes, bytes.count, 0)
        return Array(bytes.prefix(max(0, count)))
    }

    private func forward(_ bytes: [UInt8], to socket: Int32) {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = unsafe rest.withUnsafeBytes {
                unsafe send(socket, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            if count > 0 { rest = rest.dropFirst(count) } else if errno != EAGAIN { return }
        }
    }
}
