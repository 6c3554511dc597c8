internal import CGnuTLS
internal import Glibc

/// The TLS library as a whole: start, version, and what it can do, asked at run time because one binary serves many
/// versions.
package enum GnuTLS {
    /// The highest log level of the library that prints no keys (its level 9 dumps them).
    private static let highestLogLevel: UInt8 = 8

    /// Starts the library. Call it once, first of all, before any sandbox: it reads its configuration files now.
    package static func initialize() throws(GnuTLSError) {
        // The library would write every session's secrets to the file that this variable names.
        _ = unsafe unsetenv("SSLKEYLOGFILE")
        try check(gnutls_global_init(), "gnutls_global_init")
        cgnutls_resolve_default_priorities()
        // What it logs of a certificate has its dates, for which libc would look for the time zone then.
        tzset()
    }

    /// Such as `3.8.9`.
    package static var version: String {
        // A string constant of the library.
        guard let text = unsafe gnutls_check_version(nil) else { return "unknown" }
        return unsafe String(cString: text)
    }

    /// Whether PSKs with SHA-384 binders work.
    package static var bindsSHA384: Bool { cgnutls_binds_sha384() == 1 }

    /// Whether it makes and checks ML-DSA signatures: from 3.8.9 on, where it was built with leancrypto. Debian's is
    /// not, and knows no more than the name.
    package static var knowsMLDSA: Bool {
        let wanted = unsafe gnutls_pk_get_id("ML-DSA-65")
        // The library's own list of what it can do, with an end of 0.
        guard wanted != GNUTLS_PK_UNKNOWN, var entry = unsafe gnutls_pk_list() else { return false }
        while unsafe entry.pointee != GNUTLS_PK_UNKNOWN {
            if unsafe entry.pointee == wanted { return true }
            unsafe entry += 1
        }
        return false
    }

    /// The hybrid groups that this library knows, in the order in which they should be offered.
    static var hybridGroups: [String] {
        ["X25519-MLKEM768", "SECP256R1-MLKEM768", "SECP384R1-MLKEM1024"].filter { name in
            unsafe gnutls_group_get_id(name) != GNUTLS_GROUP_INVALID
        }
    }

    /// Whether a group is one of these: its name has two parts.
    static func isHybrid(_ group: String) -> Bool { group.utf8.contains(UInt8(ascii: "-")) }

    /// Has the library write what it does to stderr, up to the level given. It prints no keys.
    package static func log(upTo level: UInt8) {
        guard level > 0 else { return gnutls_global_set_log_level(0) }
        unsafe gnutls_global_set_log_function(writeLibraryLog)
        gnutls_global_set_log_level(Int32(min(level, highestLogLevel)))
    }

    /// Turns a negative code into an error.
    @discardableResult
    static func check(_ code: Int32, _ call: String) throws(GnuTLSError) -> Int32 {
        guard code >= 0 else { throw GnuTLSError(code: code, call: call) }
        return code
    }
}

/// A call to the TLS library that failed.
package struct GnuTLSError: Error, Sendable, Equatable {
    /// GNUTLS_E_*, negative.
    package let code: Int32
    package let call: String

    package init(code: Int32, call: String) {
        self.code = code
        self.call = call
    }

    /// Such as `gnutls_handshake: No supported cipher suites have been found. (GNUTLS_E_NO_CIPHER_SUITES)`.
    package var description: String { "\(call): \(text)" }

    /// What the library says about the code.
    package var text: String {
        // Both return string constants of the library, or NULL for an unknown code.
        let words = unsafe gnutls_strerror(code).map { unsafe String(cString: $0) } ?? "unknown error"
        let name = unsafe gnutls_strerror_name(code).map { unsafe String(cString: $0) } ?? String(code)
        return "\(words) (\(name))"
    }
}

/// What this process is called, as it was started.
private let programName = CommandLine.arguments.first?.split(separator: "/").last.map(String.init) ?? "tlshd"

/// The library's log function; `text` ends with a line feed and is valid during the call.
private func writeLibraryLog(_ level: Int32, _ text: UnsafePointer<CChar>?) {
    guard let text = unsafe text else { return }
    let line = unsafe "\(programName): gnutls<\(level)> \(String(cString: text))"
    let bytes = Array(line.utf8)
    _ = unsafe write(STDERR_FILENO, bytes, bytes.count)
}
