internal import CGnuTLS
internal import System

/// GnuTLS initialisation, version and features. Features are detected at run time, because one binary runs with several
/// versions.
package enum GnuTLS {
    /// The highest GnuTLS log level that prints no keys (level 9 dumps them).
    private static let highestLogLevel: UInt8 = 8

    /// Initialises GnuTLS. Call it once, before any other call and before the sandbox: it reads its configuration
    /// files.
    package static func initialize() throws(GnuTLSError) {
        // GnuTLS would write the secrets of every session to the file that this variable names.
        Environment.remove("SSLKEYLOGFILE")
        try check(gnutls_global_init(), "gnutls_global_init")
        cgnutls_resolve_default_priorities()
        // GnuTLS logs dates of certificates, for which libc would open the time zone file inside the sandbox.
        Clock.loadTimeZone()
    }

    /// Version, such as `3.8.9`.
    package static var version: String {
        // A string constant of the library.
        guard let text = unsafe gnutls_check_version(nil) else { return "unknown" }
        return unsafe String(cString: text)
    }

    /// True if PSKs with SHA-384 binders work.
    package static var bindsSHA384: Bool { cgnutls_binds_sha384() == 1 }

    /// True if GnuTLS makes and verifies ML-DSA signatures: since 3.8.9, if built with leancrypto. Debian's build is
    /// not, and only knows the algorithm names.
    package static var knowsMLDSA: Bool {
        let wanted = unsafe cgnutls_pk_id("ML-DSA-65")
        // List of supported algorithms, terminated by 0.
        guard wanted != GNUTLS_PK_UNKNOWN, var entry = unsafe gnutls_pk_list() else { return false }
        while unsafe entry.pointee != GNUTLS_PK_UNKNOWN {
            if unsafe entry.pointee == wanted { return true }
            unsafe entry += 1
        }
        return false
    }

    /// Hybrid groups that this GnuTLS knows, in the order in which they should be offered.
    package static var hybridGroups: [String] {
        ["X25519-MLKEM768", "SECP256R1-MLKEM768", "SECP384R1-MLKEM1024"].filter { name in
            unsafe gnutls_group_get_id(name) != GNUTLS_GROUP_INVALID
        }
    }

    /// Returns `true` for a hybrid group: its name has two parts.
    package static func isHybrid(_ group: String) -> Bool { group.utf8.contains(UInt8(ascii: "-")) }

    /// Makes GnuTLS log to stderr up to the given level. No keys are printed.
    package static func log(upTo level: UInt8) {
        guard level > 0 else { return gnutls_global_set_log_level(0) }
        unsafe gnutls_global_set_log_function(writeLibraryLog)
        gnutls_global_set_log_level(Int32(min(level, highestLogLevel)))
    }

    /// Throws if the code is negative.
    @discardableResult
    package static func check(_ code: Int32, _ call: String) throws(GnuTLSError) -> Int32 {
        guard code >= 0 else { throw GnuTLSError(code: code, call: call) }
        return code
    }
}

/// A call to the TLS library that failed.
package struct GnuTLSError: Error, Sendable, Equatable, CustomStringConvertible {
    /// GNUTLS_E_*, negative.
    package let code: Int32
    package let call: String

    package init(code: Int32, call: String) {
        self.code = code
        self.call = call
    }

    /// Such as `gnutls_handshake: No supported cipher suites have been found. (GNUTLS_E_NO_CIPHER_SUITES)`.
    package var description: String { "\(call): \(text)" }

    /// GnuTLS's text and name for the code.
    package var text: String {
        // Both return string constants of the library, or NULL for an unknown code.
        let words = unsafe gnutls_strerror(code).map { unsafe String(cString: $0) } ?? "unknown error"
        let name = unsafe gnutls_strerror_name(code).map { unsafe String(cString: $0) } ?? String(code)
        return "\(words) (\(name))"
    }
}

/// File name by which this process was started.
private let programName = CommandLine.arguments.first?.split(separator: "/").last.map(String.init) ?? "tlshd"

/// GnuTLS's log function. `text` ends with a line feed and is valid during the call.
private func writeLibraryLog(_ level: Int32, _ text: UnsafePointer<CChar>?) {
    guard let text = unsafe text else { return }
    ThisProcess.printError(unsafe "\(programName): gnutls<\(level)> \(String(cString: text))")
}
