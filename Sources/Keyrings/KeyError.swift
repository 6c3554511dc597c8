internal import Glibc
package import System
package import Wire

/// A key or keyring cannot be used.
package enum KeyError: Error, Sendable, Equatable, CustomStringConvertible {
    /// It does not exist, has expired, or was revoked (ENOKEY, EKEYEXPIRED, EKEYREVOKED).
    case gone(SystemError)
    /// Permission denied (EACCES, EPERM): we do not possess it, and its other permissions do not suffice.
    case denied(SystemError)
    /// Its type does not support the operation: no readable payload, not a keyring, or a type that this kernel lacks.
    case wrongType(SystemError)
    /// Its payload is empty or too long.
    case wrongSize(key: String, bytes: Int, limit: Int)
    /// The kernel's description is malformed.
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

    /// Description of the problem, for a log line.
    package var description: String {
        switch self {
        case .gone(let error), .denied(let error), .wrongType(let error), .other(let error): error.description
        case .wrongSize(let key, let bytes, let limit): "\(key) has \(bytes) bytes, where 1 to \(limit) are allowed"
        case .malformed(let error): "description of the key: \(error.description)"
        }
    }
}
