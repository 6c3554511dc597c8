internal import Glibc

/// The calling process.
package enum ThisProcess {
    /// Process ID.
    package static var identifier: Int32 { getpid() }

    /// Effective user ID.
    package static var user: UInt32 { geteuid() }

    /// Writes to standard error. Errors are ignored.
    package static func printError(_ text: String) {
        try? OwnedDescriptor.write(Array(text.utf8).span, to: STDERR_FILENO, "standard error")
    }

    /// exit(3).
    package static func exit(_ status: Int32) -> Never { Glibc.exit(status) }
}

/// Environment variables. None is removed while another thread could read one.
package enum Environment {
    /// Value of a variable; `nil` if it is not set.
    package static func value(of name: String) -> String? {
        unsafe getenv(name).map { unsafe String(cString: $0) }
    }

    /// Removes a variable.
    package static func remove(_ name: String) { _ = unsafe unsetenv(name) }
}
