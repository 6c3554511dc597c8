internal import System

/// A netlink socket as `NetlinkUpcall` uses it; tests put a scripted kernel in its place.
protocol NetlinkPort: AnyObject {
    var number: Int32 { get }

    /// Sends one datagram to the kernel.
    func send(_ bytes: Span<UInt8>) throws(SystemError)

    /// Takes the next datagram that the kernel sent; `nil` when there is none. Never waits.
    ///
    /// - Throws: `recvmsg`; with ENOBUFS once after datagrams were lost for want of room.
    func receive() throws(SystemError) -> [UInt8]?
}
