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
        try Socket.listen(listener, isIPv6: family == .ipv6, backlog: Self.backlog, name: family.name)
        return listener
    }

    func accept(on listener: Int32) throws(SystemError) -> OwnedDescriptor? {
        do throws(Errno) {
            return try Socket.accept(on: listener)
        } catch {
            throw SystemError("accept4", error)
        }
    }

    func option(_ number: Int32, at level: Int32, of socket: Int32, room: Int) throws(SystemError) -> [UInt8] {
        try Socket.option(number, at: level, of: socket, room: room)
    }

    func setOption(_ number: Int32, at level: Int32, of socket: Int32, to value: [UInt8]) throws(SystemError) {
        try Socket.setOption(number, at: level, of: socket, to: value)
    }

    func holders(_ parameters: ListenerParameters) -> [String] {
        guard let sample = try? Self.open(parameters),
            let name = SocketFacts.protocolName(ofPath: "/proc/self/fd/\(sample.number)"),
            let namespace = ProcessTable.target(of: "/proc/self/ns/net")
        else { return [] }
        return ProcessTable.identifiers().filter { $0 != ThisProcess.identifier }.compactMap { process in
            guard ProcessTable.target(of: "/proc/\(process)/ns/net") == namespace else { return nil }
            let descriptors = "/proc/\(process)/fd"
            let isHolder = ProcessTable.names(in: descriptors).contains {
                SocketFacts.protocolName(ofPath: "\(descriptors)/\($0)") == name
            }
            guard isHolder else { return nil }
            return "\(Self.programName(of: process)) (\(process))"
        }
    }

    /// Returns `true` if the kernel has the address family.
    func isPresent(_ parameters: ListenerParameters) -> Bool { (try? Self.open(parameters).number) != nil }

    private static func open(_ parameters: ListenerParameters) throws(SystemError) -> OwnedDescriptor {
        try Socket.stream(family: parameters.family, transport: 6)  // IPPROTO_TCP
    }

    private static func programName(of process: Int32) -> String {
        ProcessTable.target(of: "/proc/\(process)/exe").flatMap { $0.split(separator: "/").last.map(String.init) }
            ?? "process"
    }
}
