internal import CLinux
internal import Glibc

/// An error number of the kernel (errno(3)).
package struct Errno: Error, Sendable, Hashable, CustomStringConvertible {
    package let rawValue: Int32

    package init(_ rawValue: Int32) {
        self.rawValue = rawValue
    }

    /// No error.
    package static let success = Errno(0)
    package static let echild = Errno(ECHILD)
    package static let eperm = Errno(EPERM)
    package static let enoent = Errno(ENOENT)
    package static let eagain = Errno(EAGAIN)
    package static let enomem = Errno(ENOMEM)
    package static let eacces = Errno(EACCES)
    package static let ebusy = Errno(EBUSY)
    package static let enodev = Errno(ENODEV)
    package static let enotdir = Errno(ENOTDIR)
    package static let einval = Errno(EINVAL)
    package static let enfile = Errno(ENFILE)
    package static let emfile = Errno(EMFILE)
    package static let enotty = Errno(ENOTTY)
    package static let efbig = Errno(EFBIG)
    package static let erofs = Errno(EROFS)
    package static let epipe = Errno(EPIPE)
    package static let erange = Errno(ERANGE)
    package static let eproto = Errno(EPROTO)
    package static let enosys = Errno(ENOSYS)
    package static let enoprotoopt = Errno(ENOPROTOOPT)
    package static let eopnotsupp = Errno(EOPNOTSUPP)
    package static let eafnosupport = Errno(EAFNOSUPPORT)
    package static let eaddrinuse = Errno(EADDRINUSE)
    package static let econnreset = Errno(ECONNRESET)
    package static let emsgsize = Errno(EMSGSIZE)
    package static let enobufs = Errno(ENOBUFS)
    package static let enotconn = Errno(ENOTCONN)
    package static let econnrefused = Errno(ECONNREFUSED)
    package static let einprogress = Errno(EINPROGRESS)
    package static let estale = Errno(ESTALE)
    package static let enokey = Errno(ENOKEY)
    package static let ekeyexpired = Errno(EKEYEXPIRED)
    package static let ekeyrevoked = Errno(EKEYREVOKED)

    /// The errno of this thread. Read it immediately after the failure.
    package static var last: Errno { Errno(errno) }

    /// Result of a failed function that C calls: -1, with this errno.
    package func result() -> Int {
        errno = rawValue
        return -1
    }

    /// The name, such as ENOENT.
    package var name: String {
        // A string constant of the C library, or NULL for an unknown number.
        guard let name = unsafe linux_error_name(rawValue) else { return "errno \(rawValue)" }
        return unsafe String(cString: name)
    }

    package var description: String { name }

    fileprivate var text: String {
        guard let text = unsafe linux_error_text(rawValue) else { return "unknown error" }
        return unsafe String(cString: text)
    }
}

/// A failed system call: its name, errno and subject.
package struct SystemError: Error, Sendable, Equatable, CustomStringConvertible {
    /// Name of the system call, such as `open`.
    package let call: String
    /// The errno; `success` if the call succeeded but its result is unusable.
    package let number: Errno
    /// Subject of the call: a path, a key's description, an exceeded limit. Empty if the call says enough.
    package let context: String

    package init(_ call: String, _ number: Errno, _ context: String = "") {
        self.call = call
        self.number = number
        self.context = context
    }

    /// Error of a call that returns its errno, or a constant of the C library.
    package init(_ call: String, _ number: Int32, _ context: String = "") {
        self.init(call, Errno(number), context)
    }

    /// True for EACCES and EPERM.
    package var isDenied: Bool { number == .eacces || number == .eperm }

    /// Error with the current errno, which is read before `context` is evaluated. Call it immediately after the
    /// failure.
    package static func last(_ call: String, _ context: @autoclosure () -> String = "") -> SystemError {
        let number = Errno.last
        return SystemError(call, number, context())
    }

    /// Such as `open /etc/tlshd.conf: No such file or directory (ENOENT)`.
    package var description: String {
        let subject = context.isEmpty ? call : "\(call) \(context)"
        guard number != .success else { return subject }
        return "\(subject): \(number.text) (\(number.name))"
    }
}

/// Repeats a call that fails with -1 and EINTR.
package func retrying<Value: SignedInteger>(_ call: () -> Value) -> Value {
    while true {
        let result = call()
        if result != -1 || errno != EINTR { return result }
    }
}
