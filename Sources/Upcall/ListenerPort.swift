internal import CLinux
internal import Glibc
internal import Handshake
internal import System
internal import Unconfined

/// System calls on AF_TLSH sockets for `ListenerUpcall`. Tests substitute a scripted kernel.
protocol ListenerPort: AnyObject {
    /// Creates a non-blocking listener for connections of one family, in the calling thread's network namespace.
    ///
    /// - Throws: The call that failed; `bind` with EADDRINUSE if another process listens.
    func listen(for family: ListenerFamily, _ parameters: ListenerParameters) throws(SystemError) -> OwnedDescriptor

    /// Accepts the socket of a waiting consumer; `nil` if there is none.
    func accept(on listener: Int32) throws(SystemError) -> OwnedDescriptor?

    /// Value of an option, at most `room` bytes.
    func option(_ number: Int32, at level: Int32, of socket: Int32, room: Int) throws(SystemError) -> [UInt8]

    /// Sets an option.
    func setOption(_ number: Int32, at level: Int32, of socket: Int32, to value: [UInt8]) throws(SystemError)

    /// Processes that hold AF_TLSH sockets, such as `other (812)`, as far as /proc shows them.
    func holders(_ parameters: ListenerParameters) -> [String]
}

/// AF_TLSH of the running kernel.
final class KernelListenerPort: ListenerPort {
    /// Above the kernel's own limit (net.core.somaxconn), which then applies.
    private static let backlog: Int32 = 4096

    func listen(for family: ListenerFamily, _ parameters: ListenerParameters) throws(SystemError) -> OwnedDescriptor {
        let listener = try Self.open(parameters)
        let result: Int32
        switch family {
        case .ipv4:
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            result = unsafe Self.bind(listener.number, &address)
        case .ipv6:
            var address = sockaddr_in6()
            address.sin6_family = sa_family_t(AF_INET6)
            result = unsafe Self.bind(listener.number, &address)
        }
        guard result == 0 else { throw .last("bind", "of the listener for \(family.name)") }
        guard Glibc.listen(listener.number, Self.backlog) == 0 else {
            throw .last("listen", "for \(family.name)")
        }
        return listener
    }

    func accept(on listener: Int32) throws(SystemError) -> OwnedDescriptor? {
        let number = retrying { linux_accept(listener) }
        guard number < 0 else { return OwnedDescriptor(adopting: number) }
        if errno == EAGAIN { return nil }
        throw .last("accept4")
    }

    func option(_ number: Int32, at level: Int32, of socket: Int32, room: Int) throws(SystemError) -> [UInt8] {
        var value = [UInt8](repeating: 0, count: room)
        var length = socklen_t(room)
        guard unsafe getsockopt(socket, level, number, &value, &length) == 0 else {
            throw .last("getsockopt", "of option \(number)")
        }
        return Array(value.prefix(Int(length)))
    }

    func setOption(_ number: Int32, at level: Int32, of socket: Int32, to value: [UInt8]) throws(SystemError) {
        guard unsafe setsockopt(socket, level, number, value, socklen_t(value.count)) == 0 else {
            throw .last("setsockopt", "of option \(number)")
        }
    }

    func holders(_ parameters: ListenerParameters) -> [String] {
        guard let sample = try? Self.open(parameters),
            let name = Self.protocolName("/proc/self/fd/\(sample.number)"),
            let namespace = ProcessTable.target(of: "/proc/self/ns/net")
        else { return [] }
        return ProcessTable.identifiers().filter { $0 != Host.processIdentifier }.compactMap { process in
            guard ProcessTable.target(of: "/proc/\(process)/ns/net") == namespace else { return nil }
            let descriptors = "/proc/\(process)/fd"
            let isHolder = ProcessTable.names(in: descriptors).contains {
                Self.protocolName("\(descriptors)/\($0)") == name
            }
            guard isHolder else { return nil }
            return "\(Self.programName(of: process)) (\(process))"
        }
    }

    /// Returns `true` if the kernel has the address family.
    func isPresent(_ parameters: ListenerParameters) -> Bool { (try? Self.open(parameters).number) != nil }

    private static func open(_ parameters: ListenerParameters) throws(SystemError) -> OwnedDescriptor {
        let type = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
        let number = socket(parameters.family, type, Int32(IPPROTO_TCP))
        guard number >= 0 else { throw .last("socket", "of family \(parameters.family)") }
        return OwnedDescriptor(adopting: number)
    }

    /// bind(2). `address` is a sockaddr_in or sockaddr_in6, both of which start like a sockaddr.
    @unsafe private static func bind<Address>(_ socket: Int32, _ address: UnsafeMutablePointer<Address>) -> Int32 {
        let size = socklen_t(MemoryLayout<Address>.size)
        return unsafe address.withMemoryRebound(to: sockaddr.self, capacity: 1) { unsafe Glibc.bind(socket, $0, size) }
    }

    // MARK: /proc

    /// Protocol name of a socket descriptor (net/socket.c, the attribute system.sockprotoname).
    private static func protocolName(_ path: String) -> String? {
        var text = [CChar](repeating: 0, count: 32)
        let count = unsafe linux_socket_protocol(path, &text, text.count)
        guard count > 0 else { return nil }
        return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    private static func programName(of process: Int32) -> String {
        ProcessTable.target(of: "/proc/\(process)/exe").flatMap { $0.split(separator: "/").last.map(String.init) }
            ?? "process"
    }
}
