package import Handshake
package import System
package import Unconfined
package import Upcall

/// What the broker reaches outside of its own state. By default this is the kernel; the simulation replaces all of it
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
    /// Opens the netlink upcall in the namespace that the thread is in, or goes on with a predecessor's socket.
    package var openNetlink: (consuming OwnedDescriptor?) throws(UpcallError) -> any Upcall = {
        (kept) throws(UpcallError) in try NetlinkUpcall(kept: kept)
    }
    /// Opens an AF_TLSH listener in the namespace that the thread is in, or goes on with a predecessor's socket.
    package var openListener:
        (ListenerFamily, ListenerParameters, consuming OwnedDescriptor?) throws(UpcallError) -> any Upcall = {
            (family, parameters, kept) throws(UpcallError) in try ListenerUpcall(family, parameters, kept: kept)
        }
    package var programs = ProgramStarter()
    /// Where the log goes; by default as the options say.
    package var journal: Journal?
    /// What the kernel's TLS can do; probed by default.
    package var kernelTLS: KernelTLSCapabilities?
    /// Processors, each of which gets a worker.
    package var processors = Host.processorCount()

    package init() {}
}

/// Starts the programs of worker and signer.
package struct ProgramStarter {
    /// The worker's program file; found by default.
    package var worker: String?
    /// The signer's, likewise.
    package var signer: String?
    /// Send buffer of the channels to them; see `MessageChannel.pair`.
    package var channelRoom: Int32 = 1 << 20
    /// Starts a program with an environment and descriptors, which stay the caller's.
    package typealias Start = (
        _ program: String, _ environment: [String], _ descriptors: [(source: Int32, target: Int32)]
    ) throws(SystemError) -> any StartedProgram
    package var start: Start = { (program, environment, descriptors) throws(SystemError) in
        LinuxProgram(
            try ChildProcess.spawn(program, arguments: [program], environment: environment, descriptors: descriptors))
    }
}

/// A program that runs, until its end was waited for.
package protocol StartedProgram: AnyObject {
    var identifier: Int32 { get }
    /// A descriptor that becomes readable at the program's end; borrowed.
    var number: Int32 { get }
    /// Sends a signal; a process that has ended ignores it.
    func signal(_ number: Int32) throws(SystemError)
    /// How it has ended; `nil` while it has not.
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
