package import CGnuTLS

/// A private key, owner of its GnuTLS object. The key is in memory, on a token, in a TPM, or in another process.
@safe package final class PrivateKey {
    /// Valid from init to deinit.
    package let handle: OpaquePointer
    /// The context of the callbacks that use the key, if it has any. Kept as long as the key.
    package let context: AnyObject?

    /// Creates an empty key, to be filled by an import function.
    package init(empty context: AnyObject? = nil) throws(GnuTLSError) {
        self.context = context
        var made: OpaquePointer?
        try GnuTLS.check(unsafe gnutls_privkey_init(&made), "gnutls_privkey_init")
        guard let made = unsafe made else {
            throw GnuTLSError(code: GNUTLS_E_MEMORY_ERROR, call: "gnutls_privkey_init")
        }
        unsafe handle = made
    }

    deinit { unsafe gnutls_privkey_deinit(handle) }

    /// Reads a key without passphrase. GnuTLS keeps its own copy and wipes it on deinit.
    package convenience init(_ bytes: UnsafeRawBufferPointer, _ format: gnutls_x509_crt_fmt_t) throws(GnuTLSError) {
        try self.init(empty: nil)
        var datum = unsafe gnutls_datum_t(borrowing: bytes)
        try GnuTLS.check(
            unsafe gnutls_privkey_import_x509_raw(handle, &datum, format, nil, 0), "gnutls_privkey_import_x509_raw")
    }

    /// SHA-256 of the public key, as in `Certificate.keyIdentifier`.
    package func publicKeyIdentifier() throws(GnuTLSError) -> [UInt8] {
        try PublicKey(of: self).identifier()
    }
}
