internal import CGnuTLS
package import Handshake
internal import X509

extension Certificate {
    /// Returns `true` if the certificate contains the name or address (RFC 9110 §4.3.4, RFC 6125 §6.4). The common name
    /// counts only if there is no subjectAltName at all; GnuTLS alone would accept it beside some types of names.
    package func carries(_ name: PeerName) -> Bool {
        switch name {
        case .dns(let text):
            unsafe (!hasAlternativeNames || hasDNSName) && gnutls_x509_crt_check_hostname2(handle, text, 0) != 0
        // Name constraints for these addresses are checked by `judgeConstraints`.
        case .address(let address): carries(address.bytes) || alternativeNames.contains(.address(address))
        }
    }

    /// Returns `true` if the name constraints of this authority (RFC 5280 §4.2.1.10) permit the address, or if it has
    /// none.
    func mayVouch(for address: NetworkAddress) -> Bool {
        var made: OpaquePointer?
        guard unsafe gnutls_x509_name_constraints_init(&made) >= 0, let constraints = unsafe made else { return false }
        defer { unsafe gnutls_x509_name_constraints_deinit(constraints) }
        let code = unsafe gnutls_x509_crt_get_name_constraints(handle, constraints, 0, nil)
        if code == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE { return true }
        return unsafe address.bytes.withUnsafeBytes { raw in
            var datum = unsafe gnutls_datum_t(borrowing: raw)
            return unsafe code >= 0
                && gnutls_x509_name_constraints_check(constraints, GNUTLS_SAN_IPADDRESS, &datum) != 0
        }
    }

    private func carries(_ address: [UInt8]) -> Bool {
        unsafe gnutls_x509_crt_check_ip(handle, address, UInt32(address.count), 0) != 0
    }

    /// True if the extension subjectAltName is present (RFC 5280 §4.2.1.6).
    package var hasAlternativeNames: Bool { has(extension: "2.5.29.17") }

    /// True if it has a DNS name of a length that DNS allows and GnuTLS compares.
    private var hasDNSName: Bool {
        var text = [UInt8](repeating: 0, count: 256)
        for index in 0..<UInt32.max {
            var count = text.count
            let kind = unsafe gnutls_x509_crt_get_subject_alt_name(handle, index, &text, &count, nil)
            if kind == Int32(GNUTLS_SAN_DNSNAME.rawValue) { return true }
            guard kind >= 0 || kind == GNUTLS_E_SHORT_MEMORY_BUFFER else { return false }
        }
        return false
    }
}
