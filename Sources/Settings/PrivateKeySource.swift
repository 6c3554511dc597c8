/// Where a private key is: in a PEM file, or on a token that GnuTLS opens by a URL.
package enum PrivateKeySource: Equatable, Sendable {
    case file(String)
    case url(KeyURL)

    /// A text is a URL when it begins with a letter, then letters, digits, `+`, `-` or `.`, then a colon (RFC 3986
    /// §3.1); a file with such a name is written `./a:b`. Throws for a URL of a kind that no key can be opened by.
    init(_ text: String) throws(UnknownKeyURLScheme) {
        guard let scheme = KeyURL.scheme(of: text) else {
            self = .file(text)
            return
        }
        guard KeyURL.schemes.contains(scheme) else { throw UnknownKeyURLScheme() }
        self = .url(KeyURL(scheme: scheme, text: text))
    }
}

extension PrivateKeySource: CustomStringConvertible {
    /// The file's name, or the URL without what follows its scheme.
    package var description: String {
        switch self {
        case .file(let path): path
        case .url(let url): url.description
        }
    }
}

/// The URL has a scheme that GnuTLS has no keys under.
struct UnknownKeyURLScheme: Error {}

/// A URL that GnuTLS can open a private key by. It can carry the token's PIN (RFC 7512 §2.4), so it prints as its
/// scheme only, in string interpolation, `print` and `dump`.
package struct KeyURL: Equatable, Sendable {
    /// Lower case; one of `schemes`.
    package let scheme: String
    /// The whole URL as written, with any PIN: for GnuTLS only, never for a log line.
    package let text: String

    /// The schemes that GnuTLS knows keys under; which of them a library can open depends on how it was built.
    package static let schemes = ["pkcs11", "tpmkey", "system"]

    /// Whether a text is a URL of one of the known schemes.
    static func isOpenable(_ text: String) -> Bool {
        scheme(of: text).map(schemes.contains) ?? false
    }

    /// The scheme of a URL in lower case, as schemes are alike in both; nil when the text is no URL.
    static func scheme(of text: String) -> String? {
        let scheme = text.utf8.prefix { $0 != Byte.colon }
        guard scheme.endIndex < text.utf8.endIndex, let first = scheme.first, Byte.isLetter(first) else { return nil }
        let isScheme = scheme.allSatisfy { byte in
            Byte.isLetter(byte) || Byte.isDigit(byte) || byte == 0x2B || byte == 0x2D || byte == 0x2E
        }
        return isScheme ? String(text[..<scheme.endIndex]).lowercased() : nil
    }
}

extension KeyURL: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    package var description: String { "\(scheme):…" }
    package var debugDescription: String { description }
    package var customMirror: Mirror { Mirror(self, children: ["scheme": scheme]) }
}
