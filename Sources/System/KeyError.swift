internal import Glibc
package import Wire

/// Why a key or keyring cannot be used.
package enum KeyError: Error, Sendable, Equatable {
    /// It does not exist, has expired, or was revoked (ENOKEY, EKEYEXPIRED, EKEYREVOKED).
    case gone(SystemError)
    /// Its permissions keep us out (EACCES, EPERM): nothing that we possess links to it, and its owner's rights do not
    /// suffice.
    case denied(SystemError)
    /// It is of a type that cannot do this: no payload to read, no keyring to search, or a type that this kernel lacks.
    case wrongType(SystemError)
    /// Its payload is empty, or longer than allowed.
    case wrongSize(key: String, bytes: Int, limit: Int)
    /// The kernel's description of it cannot be understood.
    case malformed(WireError)
    case other(SystemError)

    init(_ error: SystemError) {
        switch error.number {
        case ENOKEY, EKEYEXPIRED, EKEYREVOKED: self = .gone(error)
        case EACCES, EPERM: self = .denied(error)
        case EOPNOTSUPP, ENOTDIR, ENODEV: self = .wrongType(error)
        default: self = .other(error)
        }
    }

    /// What is wrong, for a log line.
    package var description: String {
        switch self {
        case .gone(let error), .denied(let error), .wrongType(let error), .other(let error): error.description
        case .wrongSize(let key, let bytes, let limit): "\(key) has \(bytes) bytes, where 1 to \(limit) are allowed"
        case .malformed(let error): "description of the key: \(error.description)"
        }
    }
}
