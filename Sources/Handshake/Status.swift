/// The positive errno in DONE (net/handshake/netlink.c); 0 is success.
package struct Status: RawRepresentable, Sendable, Hashable {
    package let rawValue: UInt32

    package init(rawValue: UInt32) {
        self.rawValue = rawValue
    }

    package static let success = Status(rawValue: 0)
    /// Final for NFS. A first NVMe connect returns it, a reconnect retries.
    package static let accessDenied = Status(rawValue: 13)  // EACCES
    /// The NFS client maps it to EACCES. NVMe retries.
    package static let inputOutput = Status(rawValue: 5)  // EIO
    package static let invalidArgument = Status(rawValue: 22)  // EINVAL
    package static let notSupported = Status(rawValue: 95)  // EOPNOTSUPP
    /// Retry: NFS reconnects, NVMe retries.
    package static let timedOut = Status(rawValue: 110)  // ETIMEDOUT
    /// Stops NVMe reconnects (drivers/nvme/host/fabrics.c, nvmf_should_reconnect).
    package static let noKey = Status(rawValue: 126)  // ENOKEY
    /// Stops NVMe reconnects, like ENOKEY.
    package static let keyRejected = Status(rawValue: 129)  // EKEYREJECTED

    /// The errno's name, for logs and documentation.
    package var name: String {
        switch self {
        case .success: "success"
        case .accessDenied: "EACCES"
        case .inputOutput: "EIO"
        case .invalidArgument: "EINVAL"
        case .notSupported: "EOPNOTSUPP"
        case .timedOut: "ETIMEDOUT"
        case .noKey: "ENOKEY"
        case .keyRejected: "EKEYREJECTED"
        default: "errno \(rawValue)"
        }
    }
}
