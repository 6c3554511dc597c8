internal import Glibc

/// A file descriptor with exactly one owner. It is closed when its owner goes; closing twice or using it after does not
/// compile.
package struct OwnedDescriptor: ~Copyable, Sendable {
    /// The number, borrowed: valid while this value lives, never to be closed.
    package let number: Int32

    /// Takes over an open descriptor.
    package init(adopting number: Int32) {
        self.number = number
    }

    deinit {
        _ = Glibc.close(number)
    }

    /// Closes it now. No error is reported: Linux frees the descriptor whatever close(2) returns.
    package consuming func close() {}

    /// Gives up ownership; the caller must see to it that the number is closed.
    package consuming func release() -> Int32 {
        let released = number
        discard self
        return released
    }

    /// A second descriptor of the same open file, closed on exec (F_DUPFD_CLOEXEC).
    package func duplicate() throws(SystemError) -> OwnedDescriptor {
        try Self.duplicate(number)
    }

    /// A second descriptor of the open file behind a borrowed number.
    ///
    /// - Parameter minimum: the lowest number that the new one may have.
    package static func duplicate(_ number: Int32, from minimum: Int32 = 0) throws(SystemError) -> OwnedDescriptor {
        let copy = fcntl(number, F_DUPFD_CLOEXEC, minimum)
        guard copy >= 0 else { throw .last("fcntl F_DUPFD_CLOEXEC") }
        return OwnedDescriptor(adopting: copy)
    }
}
