internal import CGnuTLS
package import Handshake
package import SigningWire
package import System
package import X509

/// A private key in the signer, from a file or on a token.
@safe package final class SigningKey {
    /// The public half, PEM and DER.
    package let publicPEM: [UInt8]
    package let publicDER: [UInt8]
    /// The key in GnuTLS.
    package let key: PrivateKey
    private let schemes: SchemeTable
    /// Kept as long as the key, because a token may ask for it again.
    private let pin: TokenPIN?

    /// Reads a PEM file without passphrase.
    package convenience init(pem bytes: UnsafeRawBufferPointer) throws(KeyOpeningError) {
        try unsafe Self.refuseForeignCurve(pem: bytes)
        try self.init(nil) { () throws(GnuTLSError) in try unsafe PrivateKey(bytes, GNUTLS_X509_FMT_PEM) }
    }

    /// Reads DER.
    package convenience init(der bytes: UnsafeRawBufferPointer) throws(KeyOpeningError) {
        try unsafe Self.refuseForeignCurve(der: bytes)
        try self.init(nil) { () throws(GnuTLSError) in try unsafe PrivateKey(bytes, GNUTLS_X509_FMT_DER) }
    }

    /// Opens a key by its URL, and logs in to its token if necessary.
    package convenience init(url: String, pin: TokenPIN) throws(KeyOpeningError) {
        try self.init(pin) { () throws(GnuTLSError) in try PrivateKey(url: url, pin: pin) }
    }

    private init(_ pin: TokenPIN?, open: () throws(GnuTLSError) -> PrivateKey) throws(KeyOpeningError) {
        do throws(GnuTLSError) {
            self.pin = pin
            key = try open()
            // GnuTLS knows the curve of a key on a token only after parsing the exported public key.
            publicDER = try PublicKey(of: key).export(GNUTLS_X509_FMT_DER)
            let publicKey = try PublicKey(der: publicDER)
            publicPEM = try publicKey.export(GNUTLS_X509_FMT_PEM)
            schemes = SchemeTable(publicKey)
            try prove(publicKey)
        } catch {
            throw KeyOpeningError(error, pin)
        }
    }

    /// Names a curve that TLS 1.3 does not have. GnuTLS only reports that it cannot read such a key.
    private static func refuseForeignCurve(pem bytes: UnsafeRawBufferPointer) throws(KeyOpeningError) {
        var text = unsafe gnutls_datum_t(borrowing: bytes)
        var der = unsafe gnutls_datum_t()
        // Invalid PEM is refused when the key is read.
        guard unsafe gnutls_pem_base64_decode2(nil, &text, &der) >= 0, let start = unsafe der.data else { return }
        defer {
            unsafe cgnutls_wipe(start, Int(der.size))
            unsafe cgnutls_free(start)
        }
        try unsafe refuseForeignCurve(der: UnsafeRawBufferPointer(start: start, count: Int(der.size)))
    }

    private static func refuseForeignCurve(der bytes: UnsafeRawBufferPointer) throws(KeyOpeningError) {
        let typed = unsafe bytes.assumingMemoryBound(to: UInt8.self)
        guard let curve = unsafe EllipticCurve.foreign(in: typed.span) else { return }
        throw KeyOpeningError(
            "it is on the curve \(curve), which TLS 1.3 does not have",
            remedy: "use one on secp256r1, secp384r1 or secp521r1")
    }

    /// Makes the requested CertificateVerify signature.
    package func sign(_ request: SigningRequest) -> SigningAnswer {
        guard let algorithm = schemes.algorithm(of: request.scheme) else {
            return .refused("the key cannot make signatures of the scheme \(request.scheme)")
        }
        do throws(GnuTLSError) {
            return .signature(try sign(request.content, by: algorithm))
        } catch {
            return .refused(KeyOpeningError(error, pin).text)
        }
    }

    private func sign(_ content: [UInt8], by algorithm: gnutls_sign_algorithm_t) throws(GnuTLSError) -> [UInt8] {
        var made = unsafe gnutls_datum_t()
        let code = unsafe content.withUnsafeBytes { raw in
            var datum = unsafe gnutls_datum_t(borrowing: raw)
            return unsafe gnutls_privkey_sign_data2(key.handle, algorithm, 0, &datum, &made)
        }
        try GnuTLS.check(code, "gnutls_privkey_sign_data2")
        return unsafe Array(taking: made)
    }

    /// Signs a dummy transcript and verifies the signature: a token may hold a key that must not sign, or that cannot
    /// make TLS 1.3 signatures.
    private func prove(_ publicKey: PublicKey) throws(GnuTLSError) {
        guard let scheme = schemes.first, let algorithm = schemes.algorithm(of: scheme) else {
            throw GnuTLSError(code: GNUTLS_E_UNSUPPORTED_SIGNATURE_ALGORITHM, call: "key")
        }
        let request = SigningRequest(
            job: 0, key: .ofRequest, scheme: scheme, role: .server, digest: Array(repeating: 0, count: 32))
        try publicKey.verify(try sign(request.content, by: algorithm), of: request.content, by: algorithm)
    }

    /// Reads a certificate from a token, and those of its issuers that the token has.
    ///
    /// - Returns: PEM, the certificate itself first.
    package static func certificates(url: String, pin: TokenPIN) throws(KeyOpeningError) -> [UInt8] {
        do throws(GnuTLSError) {
            var list: UnsafeMutablePointer<OpaquePointer?>?
            var count: UInt32 = 0
            let context = unsafe Unmanaged.passUnretained(pin).toOpaque()
            try GnuTLS.check(
                unsafe gnutls_x509_crt_list_import_url(&list, &count, url, givePIN, context, 0),
                "gnutls_x509_crt_list_import_url")
            guard let list = unsafe list else { return [] }
            // The array is ours, and so are the certificates in it.
            defer { unsafe cgnutls_free(list) }
            let chain = unsafe UnsafeBufferPointer(start: list, count: Int(count)).compactMap { handle in
                unsafe handle.map { unsafe Certificate(adopting: $0) }
            }
            var text: [UInt8] = []
            for certificate in chain {
                var datum = unsafe gnutls_datum_t()
                try GnuTLS.check(
                    unsafe gnutls_x509_crt_export2(certificate.handle, GNUTLS_X509_FMT_PEM, &datum),
                    "gnutls_x509_crt_export2")
                text += unsafe Array(taking: datum)
            }
            return text
        } catch {
            throw KeyOpeningError(error, pin)
        }
    }
}

/// A key or certificate cannot be opened, or can no longer be used.
package struct KeyOpeningError: Error, Sendable, Equatable {
    /// Without the file name.
    package let problem: TextError
    /// True if a retry may succeed without a change of files or settings.
    package let isPassing: Bool

    package var text: String { problem.description }

    /// An error that a retry cannot fix.
    package init(_ problem: String, remedy: String? = nil) { self.init(problem, remedy: remedy, isPassing: false) }

    private init(_ problem: String, remedy: String?, isPassing: Bool) {
        self.problem = TextError(problem, remedy: remedy, joint: "; ")
        self.isPassing = isPassing
    }

    init(_ error: GnuTLSError, _ pin: TokenPIN?) {
        if let complaint = pin?.complaint {
            self.init(complaint)
            return
        }
        switch error.code {
        case GNUTLS_E_PKCS11_PIN_LOCKED:
            self.init("the token is locked after too many wrong PINs", remedy: "unlock it with its own tool")
        case GNUTLS_E_PKCS11_PIN_ERROR, GNUTLS_E_PKCS11_PIN_EXPIRED:
            self.init(
                "the token refuses the PIN (\(error.text))", remedy: "correct the file that pin-source names")
        case GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE where pin != nil,
            GNUTLS_E_PKCS11_REQUESTED_OBJECT_NOT_AVAILBLE:
            self.init(
                "no token that is there holds it",
                remedy:
                    "see `p11tool --list-tokens`, and whether the user tlshd-signer may use the token: its group, and "
                    + "under systemd the drop-in file token.conf", isPassing: true)
        case GNUTLS_E_UNKNOWN_PK_ALGORITHM where pin != nil, GNUTLS_E_UNIMPLEMENTED_FEATURE where pin != nil:
            self.init("this GnuTLS cannot open such a URL", remedy: "use a pkcs11: URL")
        case GNUTLS_E_DECRYPTION_FAILED where pin == nil, GNUTLS_E_UNKNOWN_CIPHER_TYPE where pin == nil:
            self.init(
                "it is encrypted, and a passphrase is not supported",
                remedy: "store it without one (openssl pkey -in FILE -out NEW)")
        case GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE where pin == nil,
            GNUTLS_E_BASE64_UNEXPECTED_HEADER_ERROR where pin == nil:
            self.init(
                "it holds no private key in PEM",
                remedy: "it must be a PEM key without a passphrase, or the pkcs11: URL of a key on a token")
        case GNUTLS_E_PK_SIG_VERIFY_FAILED where pin == nil, GNUTLS_E_PK_SIGN_FAILED where pin == nil:
            self.init(
                "it makes no valid signature: it is damaged, or too short",
                remedy: "restore it, or make a new key and certificate")
        case GNUTLS_E_UNKNOWN_PK_ALGORITHM, GNUTLS_E_UNSUPPORTED_SIGNATURE_ALGORITHM:
            self.init(
                "TLS 1.3, or this GnuTLS \(GnuTLS.version), has no signatures for this type of key",
                remedy: "use an ECDSA, RSA or EdDSA key")
        default: self.init(error.text, remedy: nil, isPassing: pin != nil)
        }
    }
}

/// A token's PIN from the sealed copy of a file, and the outcome of its use.
@safe package final class TokenPIN {
    private let contents: SealedContents?
    /// Reason why no PIN was given.
    private(set) var complaint: String?
    /// Number of times that the token asked for it.
    private(set) var requests = 0

    /// - Parameter file: `nil` if the URL names none.
    package init(_ file: consuming SealedContents?) {
        contents = consume file
    }

    /// Writes the PIN and a NUL to `target`.
    ///
    /// - Returns: `true` if there is a PIN that may be tried.
    fileprivate func give(
        attempt: Int32, flags: UInt32, to target: UnsafeMutableBufferPointer<CChar>
    ) -> Bool {
        requests += 1
        guard contents != nil else {
            complaint = "the token asks for a PIN; name a file that holds it, as in pkcs11:…?pin-source=/etc/tlshd/pin"
            return false
        }
        guard attempt == 0, flags & GNUTLS_PIN_WRONG.rawValue == 0 else {
            complaint =
                "the token refuses the PIN; correct the file that pin-source names. It is not tried again until that changes"
            return false
        }
        guard flags & GNUTLS_PIN_FINAL_TRY.rawValue == 0 else {
            complaint = "the token would lock after one more wrong PIN; log in once with its own tool"
            return false
        }
        let given = contents?.withSpan { bytes -> Bool in
            // A trailing line feed comes from the editor.
            var count = bytes.count
            while count > 0, bytes[count - 1] == 10 || bytes[count - 1] == 13 { count -= 1 }
            guard count > 0, count < target.count else { return false }
            for index in 0..<count { unsafe target[index] = CChar(bitPattern: bytes[index]) }
            unsafe target[count] = 0
            return true
        }
        guard given == true else {
            complaint = "the file that pin-source names is empty or too long"
            return false
        }
        complaint = nil
        return true
    }
}

/// GnuTLS's PIN callback. The context is a `TokenPIN`.
func givePIN(
    _ context: UnsafeMutableRawPointer?, _ attempt: Int32, _ url: UnsafePointer<CChar>?,
    _ label: UnsafePointer<CChar>?, _ flags: UInt32, _ target: UnsafeMutablePointer<CChar>?, _ capacity: Int
) -> Int32 {
    guard let context = unsafe context else { return -1 }
    let pin = unsafe Unmanaged<TokenPIN>.fromOpaque(context).takeUnretainedValue()
    let room = unsafe UnsafeMutableBufferPointer(start: target, count: capacity)
    return unsafe pin.give(attempt: attempt, flags: flags, to: room) ? 0 : -1
}

extension PrivateKey {
    /// Opens a key by URL, such as `pkcs11:`. `pin` must outlive the key.
    convenience init(url: String, pin: TokenPIN) throws(GnuTLSError) {
        try self.init(empty: nil)
        unsafe gnutls_privkey_set_pin_function(handle, givePIN, Unmanaged.passUnretained(pin).toOpaque())
        try GnuTLS.check(unsafe gnutls_privkey_import_url(handle, url, 0), "gnutls_privkey_import_url")
    }
}
