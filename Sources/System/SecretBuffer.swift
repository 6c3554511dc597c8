internal import CLinux
internal import Glibc
package import Wire

/// Memory for keys, and for messages that contain keys: of fixed size, never moved or copied by the runtime, excluded
/// from core dumps and, if the memory limit allows, locked. It is wiped on deinit.
///
/// The pages are initially zero.
@safe package struct SecretBuffer: ~Copyable {
    // Valid from init to deinit; page aligned.
    private let bytes: UnsafeMutableBufferPointer<UInt8>
    private let mapped: Int

    /// Maps memory of at least `capacity` bytes; `capacity` must be positive.
    ///
    /// - Throws: `mmap` with ENOMEM. Failure to lock the memory is no error.
    package init(capacity: Int) throws(SystemError) {
        precondition(capacity > 0)
        let page = Int(sysconf(Int32(_SC_PAGESIZE)))
        mapped = (capacity + page - 1) / page * page
        let address = unsafe mmap(nil, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        guard let address = unsafe address, unsafe address != MAP_FAILED else {
            throw .last("mmap", "of \(capacity) bytes")
        }
        _ = unsafe madvise(address, mapped, MADV_DONTDUMP)
        // Each page is locked on first use: the capacity is large, but most messages are short.
        _ = unsafe linux_lock_on_use(address, mapped)
        let typed = unsafe address.bindMemory(to: UInt8.self, capacity: capacity)
        unsafe bytes = UnsafeMutableBufferPointer(start: typed, count: capacity)
    }

    deinit {
        guard let base = unsafe bytes.baseAddress else { return }
        unsafe explicit_bzero(base, bytes.count)
        unsafe munmap(base, mapped)
    }

    /// Size in bytes.
    package var capacity: Int { unsafe bytes.count }

    /// The capacity; never the contents.
    package var description: String { "\(capacity) secret bytes" }

    /// Overwrites everything with zeros; the compiler cannot remove it.
    package mutating func wipe() {
        wipe(first: capacity)
    }

    /// Overwrites the first `count` bytes; sufficient if the caller wrote no more.
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

    /// True if all bytes are zero.
    package var isWiped: Bool {
        guard let base = unsafe bytes.baseAddress else { return true }
        return unsafe base[0] == 0 && memcmp(base, base + 1, capacity - 1) == 0
    }

    /// Lends all bytes for reading. The buffer does not protect what `body` copies.
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

    /// Lends all bytes to C for reading. The pointer is valid inside `body` only.
    @unsafe package func withUnsafeBytes<Result: ~Copyable, Failure: Error>(
        _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try unsafe body(UnsafeRawBufferPointer(bytes))
    }

    /// Lends all bytes to C for writing. The pointer is valid inside `body` only.
    @unsafe package mutating func withUnsafeMutableBytes<Result: ~Copyable, Failure: Error>(
        _ body: (UnsafeMutableRawBufferPointer) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try unsafe body(UnsafeMutableRawBufferPointer(bytes))
    }

    /// Compares the first bytes with `range` of `other`, in constant time for a given length.
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
        // The buffers are separate mappings, and the ranges were checked above.
        guard let target = unsafe bytes.baseAddress, let origin = unsafe source.bytes.baseAddress else { return }
        unsafe memmove(target + offset, origin + range.lowerBound, range.count)
    }
}

/// Messages at the start of the buffer.
extension SecretBuffer {
    /// Parses the first `length` bytes, which must be exactly one message.
    package mutating func read<Message: ChannelMessage>(first length: Int) throws(WireError) -> Message {
        try withMutableSpan { (bytes) throws(WireError) in try Message(from: &bytes, length: length) }
    }

    /// Writes a message.
    ///
    /// - Returns: The length, and the message with the places to which the caller must copy the secrets.
    package mutating func write<Message: ChannelMessage>(
        _ message: Message
    ) throws(WireError) -> (length: Int, placed: Message) {
        try withMutableSpan { (bytes) throws(WireError) in try message.encode(to: &bytes) }
    }
}
