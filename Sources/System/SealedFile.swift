internal import CLinux
internal import Glibc

/// A copy of a file in memory that cannot be modified: made by the broker, which looks into it only to remove what
/// workers must not have, and read by a worker, which cannot open files.
package struct SealedFile: ~Copyable {
    /// The memfd, fully sealed.
    package let descriptor: OwnedDescriptor
    /// Identity of the original file.
    package let identity: FileIdentity

    /// Maximum file size in bytes.
    package static let limit = 16 << 20

    /// Copies the file at `path`; follows symbolic links.
    ///
    /// - Throws: `open` and others with the path; `success` for a file that is above `limit`, not regular, or changed
    ///   while it is read.
    package init(copying path: String) throws(SystemError) {
        let flags = O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK
        let number = retrying { unsafe open(CredentialsDirectory.resolve(path), flags) }
        guard number >= 0 else { throw .last("open", path) }
        let source = OwnedDescriptor(adopting: number)
        let before = try FileIdentity(of: source)
        guard before.isRegularFile else {
            throw SystemError("open", .success, "\(path): it is \(before.kind)")
        }
        guard before.size <= Self.limit else {
            throw SystemError("open", .success, "\(path): it has more than \(Self.limit) bytes")
        }
        let copy = try Self.memory(named: "tlshd-file")
        try Self.transfer(source.number, to: copy.number, path)
        guard try FileIdentity(of: source) == before else {
            throw SystemError("read", .success, "\(path): it was changed meanwhile")
        }
        guard linux_seal(copy.number) == 0 else { throw .last("fcntl F_ADD_SEALS") }
        descriptor = copy
        identity = before
    }

    /// Returns the descriptor, which the caller then owns.
    package consuming func takeDescriptor() -> OwnedDescriptor { descriptor }

    /// A sealed file with these contents. Not for secrets.
    package static func make(named name: String, holding bytes: [UInt8]) throws(SystemError) -> OwnedDescriptor {
        let copy = try memory(named: name)
        try OwnedDescriptor.write(bytes.span, to: copy.number, name)
        guard linux_seal(copy.number) == 0 else { throw .last("fcntl F_ADD_SEALS") }
        return copy
    }

    private static func memory(named name: String) throws(SystemError) -> OwnedDescriptor {
        let number = unsafe linux_memory_file(name)
        guard number >= 0 else { throw .last("memfd_create", name) }
        return OwnedDescriptor(adopting: number)
    }

    /// Copies inside the kernel, so that a private key never enters the broker's memory.
    private static func transfer(_ source: Int32, to target: Int32, _ path: String) throws(SystemError) {
        var total = 0
        while true {
            let count = retrying { sendfile(target, source, nil, limit + 1 - total) }
            if count == 0 { return }
            guard count > 0 else { throw .last("read", path) }
            total += count
            guard total <= limit else {
                throw SystemError("read", .success, "\(path): it has more than \(limit) bytes")
            }
        }
    }
}

/// Contents of a sealed file, mapped read-only.
@safe package struct SealedContents: ~Copyable {
    // Valid from init to deinit; empty for an empty file. The seals prevent shrinking, so no access can fault.
    private let bytes: UnsafeRawBufferPointer

    /// Maps the file of `descriptor`, which can be closed afterwards.
    ///
    /// - Throws: `fcntl F_GET_SEALS` for a descriptor that is not a memfd, EPERM for a memfd that is not sealed; EFBIG.
    package init(of descriptor: borrowing OwnedDescriptor) throws(SystemError) {
        let sealed = linux_is_sealed(descriptor.number)
        guard sealed >= 0 else { throw .last("fcntl F_GET_SEALS") }
        guard sealed == 1 else { throw SystemError("fcntl F_GET_SEALS", EPERM, "of a file that can still be changed") }
        // fstat(2) cannot be used: the sandbox cannot distinguish it from a call with a path.
        let size = lseek(descriptor.number, 0, SEEK_END)
        guard size >= 0 else { throw .last("lseek") }
        guard size <= SealedFile.limit else { throw SystemError("mmap", EFBIG, "of \(size) bytes") }
        guard size > 0 else {
            unsafe bytes = UnsafeRawBufferPointer(start: nil, count: 0)
            return
        }
        let address = unsafe mmap(nil, Int(size), PROT_READ, MAP_PRIVATE, descriptor.number, 0)
        guard let address = unsafe address, unsafe address != MAP_FAILED else {
            throw .last("mmap", "of \(size) bytes")
        }
        _ = unsafe madvise(address, Int(size), MADV_DONTDUMP)
        unsafe bytes = UnsafeRawBufferPointer(start: address, count: Int(size))
    }

    deinit {
        guard let base = unsafe bytes.baseAddress else { return }
        unsafe munmap(UnsafeMutableRawPointer(mutating: base), bytes.count)
    }

    /// Size in bytes.
    package var count: Int { unsafe bytes.count }

    /// Lends the contents for reading.
    package func withSpan<Result: ~Copyable, Failure: Error>(
        _ body: (Span<UInt8>) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        let typed = unsafe UnsafeBufferPointer(
            start: bytes.baseAddress?.assumingMemoryBound(to: UInt8.self), count: count)
        return try body(unsafe typed.span)
    }

    /// Lends the contents to C. The pointer is valid inside `body` only.
    @unsafe package func withUnsafeBytes<Result: ~Copyable, Failure: Error>(
        _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try unsafe body(bytes)
    }
}
