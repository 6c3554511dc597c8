internal import CGnuTLS
internal import CLinux
internal import Glibc
internal import Handshake
internal import TLSWire
internal import Wire

/// Moves records between GnuTLS and a borrowed socket.
///
/// It never consumes a byte beyond the record that GnuTLS is reading, because bytes cannot be given back to the kernel,
/// and it never changes the flags of the file, which the kernel consumer shares. It peeks at all bytes that have
/// arrived, passes them to GnuTLS record by record, and `consumeRead` then consumes what GnuTLS has read, so that a
/// flight of records costs two system calls. Each belongs to one session, on one thread.
@safe final class RecordBoundedTransport {
    /// Direction of a record.
    enum Direction: Sendable {
        case transmit
        case receive
    }

    /// The socket, borrowed.
    let socket: Int32
    /// Classification of the first bytes if the peer sent something other than TLS.
    private(set) var plainText: PlainText?
    /// Error of a malformed record header.
    private(set) var violation: WireError?
    /// The limit that the peer has exceeded.
    private(set) var excess: HandshakeFailure?
    /// Counters of what the peer has sent.
    var incoming = IncomingHandshake()
    /// The errno of the call that failed; 0 if the connection is intact.
    private(set) var brokenBy: Int32 = 0
    /// The peer has closed its side.
    private(set) var isAtEnd = false
    /// Records received whole or in part.
    private(set) var recordsReceived = 0
    /// If set, a change_cipher_spec as first record is refused: before the ClientHello it is unexpected (RFC 8446 §5).
    var refusesEarlyChange = false
    /// Called with the header of each record.
    var onRecord: ((Direction, TLSRecordHeader) -> Void)?

    /// Bytes from GnuTLS that the socket has not accepted yet.
    private var outgoing: [UInt8] = []
    private var header: [UInt8] = []
    private var headerTaken = 0
    private var bodyLeft = 0
    /// True if the current record holds handshake messages in clear text.
    private var isHello = false
    /// Bytes that were peeked at last, and how many of them GnuTLS has read and are still to be consumed.
    private var ahead: [UInt8] = []
    private var aheadRead = 0
    /// Bytes for GnuTLS that do not come from the socket: a copy of a record that was only peeked at.
    private var copies: ArraySlice<UInt8>?

    init(socket: Int32) {
        self.socket = socket
    }

    /// True if the kernel has accepted everything that GnuTLS sent.
    var isFlushed: Bool { outgoing.isEmpty }

    /// True if the peer has sent anything.
    var hasReceived: Bool { recordsReceived > 0 || !header.isEmpty }

    /// True if the next byte in the socket is the first of a record.
    var isAtRecordBoundary: Bool { header.isEmpty && bodyLeft == 0 && aheadRead == 0 }

    // MARK: GnuTLS's side

    /// Queues bytes to send. They leave with the next `flush` or `pull`, so that a flight is one segment if possible.
    /// An error shows only on a later read, because an alert of the peer may still be readable.
    func push(_ bytes: UnsafeRawBufferPointer) -> Int {
        unsafe note(bytes)
        unsafe outgoing.append(contentsOf: bytes)
        return bytes.count
    }

    /// Sends queued bytes as far as the socket accepts them.
    ///
    /// - Returns: `true` if something was sent.
    @discardableResult
    func flush() -> Bool {
        var hasSent = false
        while !outgoing.isEmpty, brokenBy == 0 {
            let count = unsafe outgoing.withUnsafeBytes { raw in
                unsafe send(socket, raw.baseAddress, raw.count, Int32(MSG_DONTWAIT) | Int32(MSG_NOSIGNAL))
            }
            if count >= 0 {
                outgoing.removeFirst(count)
                hasSent = true
            } else if errno != EINTR {
                if errno != EAGAIN { brokenBy = errno }
                break
            }
        }
        return hasSent
    }

    /// Gives GnuTLS up to `bytes.count` bytes of the current record.
    ///
    /// - Returns: Their number, 0 at the end of the stream, or -1 with errno.
    func pull(into bytes: UnsafeMutableRawBufferPointer) -> Int {
        if copies != nil { return unsafe pullCopy(into: bytes) }
        if flush(), aheadRead == ahead.count, brokenBy == 0 {
            // The answer to what was just sent cannot be here yet. If other bytes are, epoll reports them at once.
            errno = EAGAIN
            return -1
        }
        if bodyLeft == 0, header.count < TLSRecordHeader.size {
            let result = fillHeader()
            guard result > 0 else { return result }
        }
        if headerTaken < header.count {
            let count = min(bytes.count, header.count - headerTaken)
            unsafe bytes.copyBytes(from: header[headerTaken..<(headerTaken + count)])
            headerTaken += count
            if headerTaken == TLSRecordHeader.size { clearHeader() }
            return count
        }
        let wanted = min(bytes.count, bodyLeft)
        let count = unsafe read(into: UnsafeMutableRawBufferPointer(rebasing: bytes[..<wanted]))
        guard count > 0 else { return count }
        bodyLeft -= count
        if isHello {
            let taken = unsafe UnsafeRawBufferPointer(rebasing: bytes[..<count]).bindMemory(to: UInt8.self)
            guard isWithin(try incoming.take(unsafe taken.span)) else { return -1 }
        }
        return count
    }

    /// Runs a step of the incoming limits.
    ///
    /// - Returns: `false`, with errno, if a limit is exceeded.
    private func isWithin(_ step: @autoclosure () throws(HandshakeFailure) -> Void) -> Bool {
        do throws(HandshakeFailure) {
            try step()
            return true
        } catch {
            excess = error
            errno = EPROTO
            return false
        }
    }

    /// Consumes what GnuTLS has read. Call it whenever GnuTLS has returned.
    func consumeRead() {
        defer { ahead = [] }
        while aheadRead > 0 {
            let wanted = min(aheadRead, Self.window)
            let count = unsafe withUnsafeTemporaryAllocation(byteCount: wanted, alignment: 1) {
                unsafe receive(into: $0, flags: 0)
            }
            // The bytes were there; only a connection that broke since then loses them.
            guard count > 0 else {
                aheadRead = 0
                return
            }
            aheadRead -= count
        }
    }

    // MARK: Looking ahead

    /// Contents of the receive queue.
    enum Ahead: Sendable, Equatable {
        /// A complete record with its header, still in the queue.
        case record(TLSRecordHeader, bytes: [UInt8])
        /// An incomplete record.
        case partial
        case nothing
        case end
        case broken
        case notTLS
    }

    /// Peeks at the next record.
    func peek() -> Ahead {
        consumeRead()
        var first = [UInt8](repeating: 0, count: TLSRecordHeader.size)
        let count = unsafe first.withUnsafeMutableBytes { unsafe receive(into: $0, flags: Int32(MSG_PEEK)) }
        guard count > 0 else { return count == 0 ? .end : brokenBy != 0 ? .broken : .nothing }
        guard count == first.count else { return .partial }
        let header: TLSRecordHeader
        do throws(WireError) {
            header = try TLSRecordHeader(from: first.span)
        } catch {
            violation = error
            return .notTLS
        }
        var whole = [UInt8](repeating: 0, count: first.count + header.bodyLength)
        let there = unsafe whole.withUnsafeMutableBytes { unsafe receive(into: $0, flags: Int32(MSG_PEEK)) }
        guard there == whole.count else { return .partial }
        Self.normalizeVersion(of: &whole)
        return .record(header, bytes: whole)
    }

    /// Lets GnuTLS read a copy of a record while `body` runs.
    func withCopy<Result>(of record: [UInt8], _ body: () -> Result) -> Result {
        copies = record[...]
        defer { copies = nil }
        return body()
    }

    /// Consumes a record that was peeked at.
    ///
    /// - Returns: `true` if it was consumed completely.
    func discard(_ count: Int) -> Bool {
        var left = [UInt8](repeating: 0, count: count)
        let taken = unsafe left.withUnsafeMutableBytes { unsafe receive(into: $0, flags: 0) }
        recordsReceived += 1
        return taken == count
    }

    // MARK: The socket's side

    private func fillHeader() -> Int {
        while header.count < TLSRecordHeader.size {
            var part = [UInt8](repeating: 0, count: TLSRecordHeader.size - header.count)
            let count = unsafe part.withUnsafeMutableBytes { unsafe read(into: $0) }
            guard count > 0 else { return count }
            header += part.prefix(count)
            // Plain text shows in its first byte. A peer that then waits for our answer would never send a full header.
            guard TLSRecordHeader.ContentType(rawValue: header[0]) != nil else {
                return refuse(.unknownValue(field: "record type", value: UInt64(header[0]), offset: 0))
            }
        }
        do throws(WireError) {
            let parsed = try TLSRecordHeader(from: header.span)
            if refusesEarlyChange, recordsReceived == 0, parsed.type == .changeCipherSpec {
                throw .unknownValue(field: "record type", value: UInt64(header[0]), offset: 0)
            }
            Self.normalizeVersion(of: &header)
            bodyLeft = parsed.bodyLength
            isHello = parsed.type == .handshake
            recordsReceived += 1
            onRecord?(.receive, parsed)
            return isWithin(try incoming.begin(parsed)) ? header.count : -1
        } catch {
            return refuse(error)
        }
    }

    /// Ends the session because the stream is not TLS. Peeks at more bytes to classify it.
    private func refuse(_ error: WireError) -> Int {
        consumeRead()
        // A record that is empty or too long is still TLS.
        if recordsReceived == 0, TLSRecordHeader.ContentType(rawValue: header[0]) == nil {
            var more = [UInt8](repeating: 0, count: 64)
            let count = unsafe more.withUnsafeMutableBytes { unsafe receive(into: $0, flags: Int32(MSG_PEEK)) }
            plainText = PlainText(lookingAt: header + more.prefix(max(0, count)))
        }
        violation = error
        errno = EPROTO
        return -1
    }

    /// Overwrites the version, which must be ignored (RFC 8446 §5.1); GnuTLS does not ignore it.
    private static func normalizeVersion(of record: inout [UInt8]) { record.replaceSubrange(1..<3, with: [3, 3]) }

    private func clearHeader() {
        header.removeAll(keepingCapacity: true)
        headerTaken = 0
    }

    private func pullCopy(into bytes: UnsafeMutableRawBufferPointer) -> Int {
        guard let left = copies, !left.isEmpty else {
            errno = EAGAIN
            return -1
        }
        let count = min(bytes.count, left.count)
        unsafe bytes.copyBytes(from: left.prefix(count))
        copies = left.dropFirst(count)
        return count
    }

    /// Number of bytes to peek at: more than a flight of most handshakes.
    private static let window = 8192

    /// Reads the stream for GnuTLS: bytes that were peeked at first, then a new peek.
    private func read(into bytes: UnsafeMutableRawBufferPointer) -> Int {
        if aheadRead == ahead.count {
            consumeRead()
            let count = unsafe withUnsafeTemporaryAllocation(byteCount: Self.window, alignment: 1) { window in
                let count = unsafe receive(into: window, flags: Int32(MSG_PEEK))
                if count > 0 { unsafe ahead = Array(window.prefix(count)) }
                return count
            }
            guard count > 0 else { return count }
        }
        let count = min(bytes.count, ahead.count - aheadRead)
        unsafe bytes.copyBytes(from: ahead[aheadRead..<(aheadRead + count)])
        aheadRead += count
        return count
    }

    private func receive(into bytes: UnsafeMutableRawBufferPointer, flags: Int32) -> Int {
        while true {
            let count = unsafe recv(socket, bytes.baseAddress, bytes.count, flags | Int32(MSG_DONTWAIT))
            if count > 0 { return count }
            if count == 0 {
                isAtEnd = true
                return 0
            }
            if errno == EINTR { continue }
            if errno != EAGAIN { brokenBy = errno }
            return -1
        }
    }

    private func note(_ bytes: UnsafeRawBufferPointer) {
        guard let onRecord, bytes.count >= TLSRecordHeader.size else { return }
        // GnuTLS pushes whole records.
        let first = unsafe [UInt8](bytes.prefix(TLSRecordHeader.size))
        guard let header = try? TLSRecordHeader(from: first.span) else { return }
        onRecord(.transmit, header)
    }
}

/// GnuTLS's push function. `transport` is a `RecordBoundedTransport` that outlives its session; `bytes` are valid
/// during the call.
func pushRecord(
    _ transport: gnutls_transport_ptr_t?, _ bytes: UnsafeRawPointer?, _ count: Int
) -> Int {
    guard let transport = unsafe transport else { return -1 }
    let target = unsafe Unmanaged<RecordBoundedTransport>.fromOpaque(transport).takeUnretainedValue()
    return unsafe target.push(UnsafeRawBufferPointer(start: bytes, count: count))
}

/// GnuTLS's pull function; it reads errno where this returns -1.
func pullRecord(
    _ transport: gnutls_transport_ptr_t?, _ bytes: UnsafeMutableRawPointer?, _ count: Int
) -> Int {
    guard let transport = unsafe transport else { return -1 }
    let source = unsafe Unmanaged<RecordBoundedTransport>.fromOpaque(transport).takeUnretainedValue()
    return unsafe source.pull(into: UnsafeMutableRawBufferPointer(start: bytes, count: count))
}
