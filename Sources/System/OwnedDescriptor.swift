internal import Glibc

/// A file descriptor with exactly one owner. It is closed on deinit; closing it twice or using it afterwards does not
/// compile.
package struct OwnedDescriptor: ~Copyable, Sendable {
    /// The number, borrowed: valid while this value lives, and never to be closed.
    package let number: Int32

    /// Takes ownership of an open descriptor.
    package init(adopting number: Int32) {
        self.number = number
    }

    deinit {
        _ = Glibc.close(number)
    }

    /// Closes the descriptor. No error is reported: Linux frees the descriptor whatever close(2) returns.
    package consuming func close() {}

    /// Releases ownership. The caller must close the descriptor.
    package consuming func release() -> Int32 {
        let released = number
        discard self
        return released
    }

    /// A new descriptor for the same open file, close-on-exec (F_DUPFD_CLOEXEC).
    package func duplicate() throws(SystemError) -> OwnedDescriptor {
        try Self.duplicate(number)
    }

    /// A new descriptor for the open file behind a borrowed number.
    ///
    /// - Parameter minimum: lowest number of the new descriptor.
    package static func duplicate(_ number: Int32, from minimum: Int32 = 0) throws(SystemError) -> OwnedDescriptor {
        let copy = fcntl(number, F_DUPFD_CLOEXEC, minimum)
        guard copy >= 0 else { throw .last("fcntl F_DUPFD_CLOEXEC") }
        return OwnedDescriptor(adopting: copy)
    }
}
