internal import CLinux
internal import Glibc

/// Memory for keys and for messages that carry them: of fixed size, never moved, never copied by the runtime, kept out
/// of core dumps and, where the memory limit allows, out of swap. It is wiped when its owner goes.
///
/// The pages hold zeros at first.
@safe package struct SecretBuffer: ~Copyable {
    // Valid from init to deinit, which alone may unmap it; page aligned.
    private let bytes: UnsafeMutableBufferPointer<UInt8>
    private let mapped: Int

    /// Maps memory of at least `capacity` bytes; `capacity` must be positive.
    ///
    /// - Throws: `mmap` with ENOMEM. That the memory could not be locked is no error.
    package init(capacity: Int) throws(SystemError) {
        precondition(capacity > 0)
        let page = Int(sysconf(Int32(_SC_PAGESIZE)))
        mapped = (capacity + page - 1) / page * page
        let address = unsafe mmap(nil, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        guard let address = unsafe address, unsafe address != MAP_FAILED else {
            throw .last("mmap", "of \(capacity) bytes")
        }
        _ = unsafe madvise(address, mapped, MADV_DONTDUMP)
        // Each page from its first use on: messages may be long, most are short.
        _ = unsafe linux_lock_on_use(address, mapped)
        let typed = unsafe address.bindMemory(to: UInt8.self, capacity: capacity)
        unsafe bytes = UnsafeMutableBufferPointer(start: typed, count: capacity)
    }

    deinit {
        guard let base = unsafe bytes.baseAddress else { return }
        unsafe explicit_bzero(base, bytes.count)
        unsafe munmap(base, mapped)
    }

    /// How many bytes it holds, whatever is in them.
    package var capacity: Int { unsafe bytes.count }

    /// The capacity; never what is inside.
    package var description: String { "\(capacity) secret bytes" }

    /// Overwrites everything with zeros, in a way that the compiler does not remove.
    package mutating func wipe() {
        wipe(first: capacity)
    }

    /// Overwrites the first `count` bytes: enough where the caller knows that it wrote no more.
    package mutating func wipe(first count: Int) {
        precondition(count >= 0 && count <= capacity)
        guard let base = unsafe bytes.baseAddress else { return }
        unsafe explicit_bzero(base, count)
    }

    /// Overwrites the bytes in `range`.
    package mutating func wipe(_ range: Range<Int>) {
        precondition(range.lowerBound >= 0 && range.upperBound <= capacity)
        guard let base = unsafe bytes.baseAddress else { return }
        unsafe explicit_bzero(base + range.lowerBound, range.count)
    }

    /// Lends all bytes for reading. What `body` copies out is no longer under this buffer's care.
    package func withSpan<Result: ~Copyable, Failure: Error>(
        _ body: (Span<UInt8>) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try body(unsafe bytes.span)
    }

    /// Lends the first `count` bytes for reading.
    package func withSpan<Result: ~Copyable, Failure: Error>(
        first count: Int, _ body: (Span<UInt8>) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try body(unsafe bytes.span.extracting(first: count))
    }

    /// Lends all bytes for writing.
    package mutating func withMutableSpan<Result: ~Copyable, Failure: Error>(
        _ body: (inout MutableSpan<UInt8>) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        var span = unsafe bytes.mutableSpan
        return try body(&span)
    }

    /// Lends all bytes to C for reading; the pointer is valid inside `body` only.
    @unsafe package func withUnsafeBytes<Result: ~Copyable, Failure: Error>(
        _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try unsafe body(UnsafeRawBufferPointer(bytes))
    }

    /// Lends all bytes to C for writing; the pointer is valid inside `body` only.
    @unsafe package mutating func withUnsafeMutableBytes<Result: ~Copyable, Failure: Error>(
        _ body: (UnsafeMutableRawBufferPointer) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try unsafe body(UnsafeMutableRawBufferPointer(bytes))
    }

    /// Whether the first bytes here are those of `range` of `other`, in a time that depends on the count alone.
    package func equals(_ range: Range<Int>, of other: borrowing SecretBuffer) -> Bool {
        precondition(range.count <= capacity && range.lowerBound >= 0 && range.upperBound <= other.capacity)
        return withSpan { mine in
            other.withSpan { theirs in
                var difference: UInt8 = 0
                for index in 0..<range.count { difference |= mine[index] ^ theirs[range.lowerBound + index] }
                return difference == 0
            }
        }
    }

    /// Copies `range` of `source` to `offset` here.
    package mutating func copy(_ range: Range<Int>, of source: borrowing SecretBuffer, to offset: Int) {
        precondition(range.lowerBound >= 0 && range.upperBound <= source.capacity)
        precondition(offset >= 0 && range.count <= capacity - offset)
        // Both are separate mappings, and the ranges were checked above.
        guard let target = unsafe bytes.baseAddress, let origin = unsafe source.bytes.baseAddress else { return }
        unsafe memmove(target + offset, origin + range.lowerBound, range.count)
    }
}
