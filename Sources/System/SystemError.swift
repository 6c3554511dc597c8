internal import CLinux
internal import Glibc

/// A failed system call: its name, errno and subject.
package struct SystemError: Error, Sendable, Equatable, CustomStringConvertible {
    /// Name of the system call, such as `open`.
    package let call: String
    /// The errno; 0 if the call succeeded but its result is unusable.
    package let number: Int32
    /// Subject of the call: a path, a key's description, an exceeded limit. Empty if the call says enough.
    package let context: String

    package init(_ call: String, _ number: Int32, _ context: String = "") {
        self.call = call
        self.number = number
        self.context = context
    }

    // For callers that do not import the C library.

    /// EINVAL.
    package static let invalid: Int32 = Glibc.EINVAL
    /// EAGAIN.
    package static let tryAgain: Int32 = Glibc.EAGAIN
    /// ENOBUFS.
    package static let noRoom: Int32 = Glibc.ENOBUFS
    /// EAFNOSUPPORT.
    package static let noFamily: Int32 = Glibc.EAFNOSUPPORT
    /// EADDRINUSE.
    package static let addressInUse: Int32 = Glibc.EADDRINUSE
    /// ENOPROTOOPT.
    package static let noOption: Int32 = Glibc.ENOPROTOOPT
    /// EMFILE and ENFILE.
    package static let noDescriptors: Set<Int32> = [Glibc.EMFILE, Glibc.ENFILE]
    /// ENOENT.
    package static let notFound: Int32 = Glibc.ENOENT
    /// ESTALE.
    package static let stale: Int32 = Glibc.ESTALE
    /// EBUSY.
    package static let busy: Int32 = Glibc.EBUSY
    /// EACCES and EPERM.
    package static let denied: Set<Int32> = [Glibc.EACCES, Glibc.EPERM]
    /// ENOENT.
    package static let noFile: Int32 = Glibc.ENOENT
    /// ENOTDIR.
    package static let noFolder: Int32 = Glibc.ENOTDIR
    /// EFBIG.
    package static let tooLarge: Int32 = Glibc.EFBIG
    /// ENOKEY.
    package static let noKey: Int32 = Glibc.ENOKEY

    /// Error with the current errno. Call it immediately after the failure.
    package static func last(_ call: String, _ context: String = "") -> SystemError {
        SystemError(call, errno, context)
    }

    /// Such as `open /etc/tlshd.conf: No such file or directory (ENOENT)`.
    package var description: String {
        let subject = context.isEmpty ? call : "\(call) \(context)"
        guard number != 0 else { return subject }
        return "\(subject): \(Self.text(of: number)) (\(Self.name(of: number)))"
    }

    /// The errno's name, such as ENOENT.
    package static func name(of number: Int32) -> String {
        // A string constant of the C library, or NULL for an unknown number.
        guard let name = unsafe linux_error_name(number) else { return "errno \(number)" }
        return unsafe String(cString: name)
    }

    private static func text(of number: Int32) -> String {
        guard let text = unsafe linux_error_text(number) else { return "unknown error" }
        return unsafe String(cString: text)
    }
}

/// Repeats a call that fails with -1 and EINTR.
package func retrying<Value: SignedInteger>(_ call: () -> Value) -> Value {
    while true {
        let result = call()
        if result != -1 || errno != EINTR { return result }
    }
}
