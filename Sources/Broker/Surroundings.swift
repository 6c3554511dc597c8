package import Handshake
package import System
package import Unconfined
package import Upcall

/// Everything outside of the broker's own state. The default is the running system; the simulation replaces all of it
/// (docs/decisions/0092-simulation.md).
package struct Surroundings {
    /// CLOCK_MONOTONIC nanoseconds.
    package var clock: () -> UInt64 = Clock.monotonicNanoseconds
    /// Called before each wait of the event loop; see `EventLoop.init`.
    package var beforeWait: (UInt64?) -> UInt64? = { $0 }
    package var files = FileThreads()
    package var keys: any KernelKeys = LinuxKeys()
    package var namespaces: () throws(SystemError) -> any NetworkNamespaces = { () throws(SystemError) in
        try NamespaceScan()
    }
    /// Opens the netlink upcall in the current namespace of the thread, or continues with a stored socket.
    package var openNetlink: (consuming OwnedDescriptor?) throws(UpcallError) -> any Upcall = {
        (kept) throws(UpcallError) in try NetlinkUpcall(kept: kept)
    }
    /// Opens an AF_TLSH listener in the current namespace of the thread, or continues with a stored socket.
    package var openListener:
        (ListenerFamily, ListenerParameters, consuming OwnedDescriptor?) throws(UpcallError) -> any Upcall = {
            (family, parameters, kept) throws(UpcallError) in try ListenerUpcall(family, parameters, kept: kept)
        }
    package var programs = ProgramStarter()
    /// The log; selected by the options by default.
    package var journal: Journal?
    /// Capabilities of the kernel's TLS; probed by default.
    package var kernelTLS: KernelTLSCapabilities?
    /// Number of processors, each of which gets a worker.
    package var processors = Host.processorCount()

    package init() {}
}

/// Starts the programs of workers and signer.
package struct ProgramStarter {
    /// File of the worker program; searched by default.
    package var worker: String?
    /// File of the signer program; searched by default.
    package var signer: String?
    /// Send buffer of the channels to these processes; see `MessageChannel.pair`.
    package var channelRoom: Int32 = 1 << 20
    /// Starts a program with an environment and descriptors, which the caller keeps.
    package typealias Start = (
        _ program: String, _ environment: [String], _ descriptors: [(source: Int32, target: Int32)]
    ) throws(SystemError) -> any StartedProgram
    package var start: Start = { (program, environment, descriptors) throws(SystemError) in
        LinuxProgram(
            try ChildProcess.spawn(program, arguments: [program], environment: environment, descriptors: descriptors))
    }
}

/// A running program, until it is reaped.
package protocol StartedProgram: AnyObject {
    var identifier: Int32 { get }
    /// A descriptor that becomes readable when the program ends; borrowed.
    var number: Int32 { get }
    /// Sends a signal. A process that has ended ignores it.
    func signal(_ number: Int32) throws(SystemError)
    /// Exit status; `nil` while the process runs.
    func reapIfEnded() throws(SystemError) -> ChildProcess.End?
}

/// A process and its pidfd.
private final class LinuxProgram: StartedProgram {
    private let child: ChildProcess

    init(_ child: consuming ChildProcess) { self.child = child }

    var identifier: Int32 { child.identifier }
    var number: Int32 { child.number }
    func signal(_ number: Int32) throws(SystemError) { try child.signal(number) }
    func reapIfEnded() throws(SystemError) -> ChildProcess.End? { try child.reapIfEnded() }
}
