internal import System

/// A netlink socket for `NetlinkUpcall`. Tests substitute a scripted kernel.
protocol NetlinkPort: AnyObject {
    var number: Int32 { get }

    /// Sends one datagram to the kernel.
    func send(_ bytes: Span<UInt8>) throws(SystemError)

    /// Receives the next datagram of the kernel; `nil` if there is none. Never waits.
    ///
    /// - Throws: `recvmsg`; ENOBUFS once after datagrams were dropped because the buffer was full.
    func receive() throws(SystemError) -> [UInt8]?
}
