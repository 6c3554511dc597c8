internal import CGnuTLS
internal import Handshake
internal import System
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
    /// The error of the call that failed; `success` if the connection is intact.
    private(set) var brokenBy = Errno.success
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
        do throws(Errno) {
            while !outgoing.isEmpty, brokenBy == .success {
                outgoing.removeFirst(try Socket.send(outgoing.span, over: socket))
                hasSent = true
            }
        } catch {
            if error != .eagain { brokenBy = error }
        }
        return hasSent
    }

    /// Gives GnuTLS up to `bytes.count` bytes of the current record.
    ///
    /// - Returns: Their number, 0 at the end of the stream.
    func pull(into bytes: UnsafeMutableRawBufferPointer) throws(Errno) -> Int {
        if copies != nil { return try unsafe pullCopy(into: bytes) }
        // The answer to what was just sent cannot be here yet. If other bytes are, epoll reports them at once.
        if flush(), aheadRead == ahead.count, brokenBy == .success { throw .eagain }
        if bodyLeft == 0, header.count < TLSRecordHeader.size {
            guard try fillHeader() else { return 0 }
        }
        if headerTaken < header.count {
            let count = min(bytes.count, header.count - headerTaken)
            unsafe bytes.copyBytes(from: header[headerTaken..<(headerTaken + count)])
            headerTaken += count
            if headerTaken == TLSRecordHeader.size { clearHeader() }
            return count
        }
        let part = try read(atMost: min(bytes.count, bodyLeft))
        guard !part.isEmpty else { return 0 }
        unsafe bytes.copyBytes(from: part)
        bodyLeft -= part.count
        if isHello { try limit(try incoming.take(part.span)) }
        return part.count
    }

    /// Runs a step of the incoming limits.
    ///
    /// - Throws: EPROTO if a limit is exceeded.
    private func limit(_ step: @autoclosure () throws(HandshakeFailure) -> Void) throws(Errno) {
        do throws(HandshakeFailure) {
            try step()
        } catch {
            excess = error
            throw .eproto
        }
    }

    /// Consumes what GnuTLS has read. Call it whenever GnuTLS has returned.
    func consumeRead() {
        defer { ahead = [] }
        while aheadRead > 0 {
            // The bytes were there; only a connection that broke since then loses them.
            guard let taken = try? receive(min(aheadRead, Self.window)), !taken.isEmpty else {
                aheadRead = 0
                return
            }
            aheadRead -= taken.count
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
        guard let first = try? receive(TLSRecordHeader.size, peeking: true) else {
            return brokenBy == .success ? .nothing : .broken
        }
        guard !first.isEmpty else { return .end }
        guard first.count == TLSRecordHeader.size else { return partial }
        let header: TLSRecordHeader
        do throws(WireError) {
            header = try TLSRecordHeader(from: first.span)
        } catch {
            violation = error
            return .notTLS
        }
        let length = first.count + header.bodyLength
        guard var whole = try? receive(length, peeking: true), whole.count == length else { return partial }
        Self.normalizeVersion(of: &whole)
        return .record(header, bytes: whole)
    }

    /// An incomplete record, or a connection that was reset: a read reports that only behind the last byte. A write of
    /// no bytes reports it, too.
    private var partial: Ahead {
        let nothing: [UInt8] = []
        do throws(Errno) {
            _ = try Socket.send(nothing.span, over: socket)
            return .partial
        } catch {
            brokenBy = error
            return .broken
        }
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
        recordsReceived += 1
        return (try? receive(count))?.count == count
    }

    // MARK: The socket's side

    /// - Returns: `false` at the end of the stream.
    private func fillHeader() throws(Errno) -> Bool {
        while header.count < TLSRecordHeader.size {
            let part = try read(atMost: TLSRecordHeader.size - header.count)
            guard !part.isEmpty else { return false }
            header += part
            // Plain text shows in its first byte. A peer that then waits for our answer would never send a full header.
            guard TLSRecordHeader.ContentType(rawValue: header[0]) != nil else {
                throw refusal(.unknownValue(field: "record type", value: UInt64(header[0]), offset: 0))
            }
        }
        let parsed: TLSRecordHeader
        do throws(WireError) {
            parsed = try TLSRecordHeader(from: header.span)
            if refusesEarlyChange, recordsReceived == 0, parsed.type == .changeCipherSpec {
                throw .unknownValue(field: "record type", value: UInt64(header[0]), offset: 0)
            }
        } catch {
            throw refusal(error)
        }
        Self.normalizeVersion(of: &header)
        bodyLeft = parsed.bodyLength
        isHello = parsed.type == .handshake
        recordsReceived += 1
        onRecord?(.receive, parsed)
        try limit(try incoming.begin(parsed))
        return true
    }

    /// Ends the session because the stream is not TLS. Peeks at more bytes to classify it.
    private func refusal(_ error: WireError) -> Errno {
        consumeRead()
        // A record that is empty or too long is still TLS.
        if recordsReceived == 0, TLSRecordHeader.ContentType(rawValue: header[0]) == nil {
            plainText = PlainText(lookingAt: header + ((try? receive(64, peeking: true)) ?? []))
        }
        violation = error
        return .eproto
    }

    /// Overwrites the version, which must be ignored (RFC 8446 §5.1); GnuTLS does not ignore it.
    private static func normalizeVersion(of record: inout [UInt8]) { record.replaceSubrange(1..<3, with: [3, 3]) }

    private func clearHeader() {
        header.removeAll(keepingCapacity: true)
        headerTaken = 0
    }

    private func pullCopy(into bytes: UnsafeMutableRawBufferPointer) throws(Errno) -> Int {
        guard let left = copies, !left.isEmpty else { throw .eagain }
        let count = min(bytes.count, left.count)
        unsafe bytes.copyBytes(from: left.prefix(count))
        copies = left.dropFirst(count)
        return count
    }

    /// Number of bytes to peek at: more than a flight of most handshakes.
    private static let window = 8192

    /// Reads the stream for GnuTLS: bytes that were peeked at first, then a new peek.
    ///
    /// - Returns: No bytes at the end of the stream.
    private func read(atMost limit: Int) throws(Errno) -> ArraySlice<UInt8> {
        if aheadRead == ahead.count {
            consumeRead()
            ahead = try receive(Self.window, peeking: true)
            if !ahead.isEmpty { try self.limit(try incoming.read(ahead.count)) }
        }
        let part = ahead[aheadRead...].prefix(limit)
        aheadRead += part.count
        return part
    }

    private func receive(_ limit: Int, peeking: Bool = false) throws(Errno) -> [UInt8] {
        do throws(Errno) {
            let bytes = try Socket.receive(atMost: limit, from: socket, peeking: peeking)
            if bytes.isEmpty { isAtEnd = true }
            return bytes
        } catch {
            if error != .eagain { brokenBy = error }
            throw error
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

/// GnuTLS's pull function; GnuTLS reads errno if it returns -1.
func pullRecord(
    _ transport: gnutls_transport_ptr_t?, _ bytes: UnsafeMutableRawPointer?, _ count: Int
) -> Int {
    guard let transport = unsafe transport else { return -1 }
    let source = unsafe Unmanaged<RecordBoundedTransport>.fromOpaque(transport).takeUnretainedValue()
    do throws(Errno) {
        return try unsafe source.pull(into: UnsafeMutableRawBufferPointer(start: bytes, count: count))
    } catch {
        return error.result()
    }
}
