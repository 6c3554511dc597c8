internal import CGnuTLS
internal import Handshake
internal import X509

/// The application protocol of a handshake (ALPN, RFC 7301), and its checks by the rules of the settings.
@safe final class ApplicationProtocol {
    /// RFC 9289 §4.1.
    private static let wanted = "sunrpc"

    /// Borrowed from the handshake that owns this object.
    private let session: gnutls_session_t
    private let rules: PeerRules?
    /// Remarks for the log on a peer that is accepted.
    private(set) var remarks: [String] = []

    init(of session: gnutls_session_t, _ rules: PeerRules?) {
        unsafe self.session = session
        self.rules = rules
    }

    /// Tells GnuTLS our protocol.
    func announce() throws(HandshakeFailure) {
        let code = unsafe Array(Self.wanted.utf8).withUnsafeBytes { raw in
            var datum = unsafe gnutls_datum_t(borrowing: raw)
            return unsafe gnutls_alpn_set_protocols(session, &datum, 1, 0)
        }
        try GnuTLS.require(code, "gnutls_alpn_set_protocols")
    }

    /// Server: checks the protocols that the client offers.
    func check(offered: [[UInt8]]) throws(HandshakeFailure) {
        if offered.isEmpty, let rules {
            remarks = try rules.judge(applicationProtocol: "", wanted: Self.wanted)
        }
        guard !offered.isEmpty, !offered.contains(Array(Self.wanted.utf8)) else { return }
        let names = offered.prefix(8).map { String(decoding: $0, as: UTF8.self) }.joined(separator: ", ")
        throw HandshakeFailure(.applicationProtocolMismatch, "it offers \(names), not \(Self.wanted)")
    }

    /// Client: checks the protocol in the server's EncryptedExtensions.
    func check(answered name: [UInt8]) throws(HandshakeFailure) {
        guard name != Array(Self.wanted.utf8), let rules else { return }
        remarks = try rules.judge(unoffered: String(decoding: name, as: UTF8.self))
    }

    /// Client: checks the protocol that was negotiated.
    func checkSelected() throws(HandshakeFailure) {
        // A remark on an unoffered protocol covers this case too.
        guard remarks.isEmpty else { return }
        remarks = try (rules ?? PeerRules()).judge(applicationProtocol: selected, wanted: Self.wanted)
    }

    /// The protocol that was negotiated; empty if there is none.
    var selected: String {
        var selected = unsafe gnutls_datum_t()
        guard unsafe gnutls_alpn_get_selected_protocol(session, &selected) >= 0 else { return "" }
        // The datum points into the session.
        let bytes = unsafe UnsafeBufferPointer(start: selected.data, count: Int(selected.size))
        return unsafe String(decoding: bytes, as: UTF8.self)
    }
}
