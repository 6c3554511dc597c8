import CGnuTLS
import Glibc
import Handshake
import System
import TestSupport

@testable import X509

/// A TLS peer of GnuTLS whose messages are changed after they were hashed and before they are encrypted: what it sends
/// is what no library sends.
@safe final class BentPeer {
    /// Changes one of its messages, which keeps its length; the handshake header of four bytes comes first.
    typealias Bend = (_ type: UInt32, _ message: inout [UInt8]) -> Void

    private let session: gnutls_session_t
    fileprivate let socket: Int32
    private let credentials: gnutls_certificate_credentials_t
    private let bend: Bend
    private var isShaken = false
    private var hasHeard = false
    /// The alert that the other side sent.
    private(set) var alert: Alert?
    /// Its last error.
    private(set) var code: Int32 = 0

    /// Takes the socket over.
    ///
    /// - Parameters:
    ///   - certificate: a fixture's name.
    ///   - chain: the fixture that holds its certificate, where that is another.
    init(
        _ role: Role, on socket: Int32, certificate: String?, chain: String? = nil,
        priority: String = "NORMAL:-VERS-ALL:+VERS-TLS1.3", bend: @escaping Bend = { _, _ in }
    ) throws {
        self.socket = socket
        self.bend = bend
        var made: gnutls_session_t?
        let server = role == .server
        let flags = (server ? GNUTLS_SERVER : GNUTLS_CLIENT) | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL
        var store: gnutls_certificate_credentials_t?
        guard unsafe gnutls_init(&made, UInt32(flags)) >= 0, let made = unsafe made,
            unsafe gnutls_certificate_allocate_credentials(&store) >= 0, let store = unsafe store
        else { throw SystemError("gnutls_init", ENOMEM) }
        unsafe session = made
        unsafe credentials = store
        let files = Fixtures.shared
        if let certificate {
            let code = unsafe gnutls_certificate_set_x509_key_file(
                store, files.path((chain ?? certificate) + ".pem"), files.path(certificate + ".key"),
                GNUTLS_X509_FMT_PEM)
            guard code >= 0 else { throw GnuTLSError(code: code, call: certificate) }
        }
        let code = unsafe gnutls_priority_set_direct(made, priority, nil)
        guard code >= 0 else { throw GnuTLSError(code: code, call: priority) }
        _ = unsafe gnutls_credentials_set(made, GNUTLS_CRD_CERTIFICATE, UnsafeMutableRawPointer(store))
        if server { unsafe gnutls_certificate_server_set_request(made, GNUTLS_CERT_REQUEST) }
        var name: [UInt8] = Array("sunrpc".utf8)
        unsafe name.withUnsafeMutableBufferPointer { raw in
            var datum = unsafe gnutls_datum_t(data: raw.baseAddress, size: UInt32(raw.count))
            _ = unsafe gnutls_alpn_set_protocols(made, &datum, 1, 0)
        }
        let context = unsafe Unmanaged.passUnretained(self).toOpaque()
        unsafe gnutls_transport_set_ptr(made, context)
        unsafe gnutls_transport_set_push_function(made, pushBent)
        unsafe gnutls_transport_set_pull_function(made, pullBent)
        unsafe gnutls_session_set_ptr(made, context)
        unsafe gnutls_handshake_set_hook_function(made, cgnutls_any_message(), GNUTLS_HOOK_PRE, bendMessage)
    }

    deinit {
        unsafe gnutls_deinit(session)
        unsafe gnutls_certificate_free_credentials(credentials)
        close(socket)
    }

    fileprivate func change(_ type: UInt32, _ message: UnsafeMutableBufferPointer<UInt8>) {
        var copy = unsafe Array(message)
        bend(type, &copy)
        precondition(copy.count == message.count)
        for index in copy.indices { unsafe message[index] = copy[index] }
    }

    /// Goes on as far as the socket allows; behind its handshake it reads until it hears something.
    ///
    /// - Returns: whether more can come.
    @discardableResult
    func step() -> Bool {
        guard code == 0 else { return false }
        var result: Int32
        if isShaken {
            var byte = [UInt8](repeating: 0, count: 100)
            result = Int32(truncatingIfNeeded: unsafe gnutls_record_recv(session, &byte, byte.count))
            hasHeard = result > 0
            if hasHeard { return true }
            if result == 0 { result = GNUTLS_E_PREMATURE_TERMINATION }
        } else {
            result = unsafe gnutls_handshake(session)
            if result == 0 {
                isShaken = true
                return true
            }
        }
        if gnutls_error_is_fatal(result) == 0, result != GNUTLS_E_WARNING_ALERT_RECEIVED { return true }
        if result == GNUTLS_E_FATAL_ALERT_RECEIVED || result == GNUTLS_E_WARNING_ALERT_RECEIVED {
            alert = Alert(rawValue: UInt8(truncatingIfNeeded: unsafe gnutls_alert_get(session).rawValue))
        }
        code = result
        return false
    }

    /// Looks at the next record before the library reads it: an alert of a peer that has no keys yet, where we have
    /// some, it would not understand.
    fileprivate func noteClearAlert() {
        var record = [UInt8](repeating: 0, count: 7)
        let count = unsafe recv(socket, &record, record.count, Int32(MSG_PEEK) | Int32(MSG_DONTWAIT))
        guard count == record.count, record[0] == 21, record[3...4] == [0, 2] else { return }
        alert = Alert(rawValue: record[6])
    }

    /// Steps until nothing more can come.
    ///
    /// - Parameter isEchoed: the other side accepts the handshake, and sends back what it gets behind it.
    func run(isEchoed: Bool = false) throws {
        try wait(
            meanwhile: {
                if isEchoed, isShaken { _ = unsafe gnutls_record_send(session, "echo\n", 5) }
                var entry = pollfd(fd: socket, events: Int16(POLLIN), revents: 0)
                _ = unsafe poll(&entry, 1, 100)
            }, until: { !step() || isEchoed && hasHeard })
    }
}

/// GnuTLS' hook; the message is the library's own buffer, with the handshake header before it.
private func bendMessage(
    _ session: gnutls_session_t?, _ type: UInt32, _ when: UInt32, _ incoming: UInt32,
    _ message: UnsafePointer<gnutls_datum_t>?
) -> Int32 {
    guard incoming == 0, let session = unsafe session, let context = unsafe gnutls_session_get_ptr(session),
        let message = unsafe message, let data = unsafe message.pointee.data
    else { return 0 }
    let peer = unsafe Unmanaged<BentPeer>.fromOpaque(context).takeUnretainedValue()
    let whole = unsafe UnsafeMutableBufferPointer(start: data - 4, count: 4 + Int(message.pointee.size))
    unsafe peer.change(type, whole)
    return 0
}

/// GnuTLS' push and pull functions; the transport is a `BentPeer`.
private func pushBent(
    _ transport: gnutls_transport_ptr_t?, _ bytes: UnsafeRawPointer?, _ count: Int
) -> Int {
    guard let transport = unsafe transport else { return -1 }
    let peer = unsafe Unmanaged<BentPeer>.fromOpaque(transport).takeUnretainedValue()
    // Where the other side is gone, what it said before is still to be read.
    return max(count, unsafe send(peer.socket, bytes, count, Int32(MSG_NOSIGNAL)))
}

private func pullBent(
    _ transport: gnutls_transport_ptr_t?, _ bytes: UnsafeMutableRawPointer?, _ count: Int
) -> Int {
    guard let transport = unsafe transport else { return -1 }
    let peer = unsafe Unmanaged<BentPeer>.fromOpaque(transport).takeUnretainedValue()
    if count == 5 { peer.noteClearAlert() }
    return unsafe recv(peer.socket, bytes, count, Int32(MSG_DONTWAIT))
}
