internal import CLinux
internal import Glibc

/// A call to the kernel that failed: which, with which errno, and on what.
package struct SystemError: Error, Sendable, Equatable {
    /// The system call's name, such as `open`.
    package let call: String
    /// The errno; 0 where the call succeeded but its outcome cannot be used.
    package let number: Int32
    /// What it was about: a path, a key's description, a limit that was broken. Empty where the call says enough.
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

    /// Takes the errno that the last call of this thread left. Make it the first thing after the failure.
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
        // The C library returns a string constant, or NULL for a number that it does not know.
        guard let name = unsafe linux_error_name(number) else { return "errno \(number)" }
        return unsafe String(cString: name)
    }

    private static func text(of number: Int32) -> String {
        guard let text = unsafe linux_error_text(number) else { return "unknown error" }
        return unsafe String(cString: text)
    }
}

/// Runs a call that reports failure as -1 with errno, and again when a signal interrupted it.
package func retrying<Value: SignedInteger>(_ call: () -> Value) -> Value {
    while true {
        let result = call()
        if result != -1 || errno != EINTR { return result }
    }
}
