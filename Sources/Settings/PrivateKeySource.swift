/// Where a private key or a certificate is: in a PEM file, or on a token that GnuTLS opens by a URL.
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

    /// The file that `pin-source` names (RFC 7512 §2.4), as `file:` or as a path; nil where there is none.
    package var pinFile: String? {
        guard let value = query.lazy.compactMap({ Self.value(of: "pin-source", in: $0) }).first else { return nil }
        let path =
            value.hasPrefix("file://") ? value.dropFirst(7) : value.hasPrefix("file:") ? value.dropFirst(5) : value[...]
        return path.hasPrefix("/") ? String(path) : nil
    }

    /// The URL for GnuTLS without `pin-source`: who opens it reads no files. It may hold a PIN (`pin-value`).
    package var withoutPINFile: String {
        guard pinFile != nil else { return text }
        let rest = query.filter { Self.value(of: "pin-source", in: $0) == nil }
        return rest.isEmpty ? String(head) : "\(head)?\(rest.joined(separator: "&"))"
    }

    /// What tells the token and the object apart, for log lines: those attributes that are no secret by RFC 7512 §2.3.
    package var label: String {
        let shown = ["token", "serial", "object", "id", "type"]
        let attributes = head.dropFirst(scheme.utf8.count + 1).split(separator: ";").filter { attribute in
            shown.contains { Self.value(of: $0, in: attribute) != nil }
        }
        return attributes.isEmpty ? description : "\(scheme):\(attributes.joined(separator: ";"))"
    }

    /// Up to the question mark.
    private var head: Substring { text.prefix { $0 != "?" } }

    private var query: [Substring] { text.dropFirst(head.count + 1).split(separator: "&") }

    /// The value of `name=value`, percent-encoding undone.
    private static func value(of name: String, in attribute: Substring) -> String? {
        guard attribute.hasPrefix("\(name)=") else { return nil }
        var bytes: [UInt8] = []
        var rest = attribute.utf8.dropFirst(name.utf8.count + 1)
        while let byte = rest.popFirst() {
            let digits = rest.prefix(2)
            if byte == 0x25, digits.count == 2, let code = UInt8(String(decoding: digits, as: UTF8.self), radix: 16) {
                bytes.append(code)
                rest = rest.dropFirst(2)
            } else {
                bytes.append(byte)
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }

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
