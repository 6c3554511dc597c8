/// Location of a private key or a certificate: a PEM file, or a URL that GnuTLS opens.
package enum PrivateKeySource: Equatable, Sendable {
    case file(String)
    case url(KeyURL)

    /// Parses a location. A text is a URL if it starts with a letter, followed by letters, digits, `+`, `-` or `.`, and
    /// a colon (RFC 3986 §3.1). A file with such a name is written `./a:b`. `nil` for a URL scheme without keys.
    init?(_ text: String) {
        guard let scheme = KeyURL.scheme(of: text) else {
            self = .file(text)
            return
        }
        guard KeyURL.schemes.contains(scheme) else { return nil }
        self = .url(KeyURL(scheme: scheme, text: text))
    }
}

extension PrivateKeySource: CustomStringConvertible {
    /// The file name, or the URL reduced to its scheme.
    package var description: String {
        switch self {
        case .file(let path): path
        case .url(let url): url.description
        }
    }
}

/// A URL of a private key for GnuTLS. It may contain the token's PIN (RFC 7512 §2.4), so only its scheme is printed, in
/// string interpolation, `print` and `dump`.
package struct KeyURL: Equatable, Sendable {
    /// Lower case; an element of `schemes`.
    package let scheme: String
    /// The whole URL, including a PIN: only for GnuTLS, never for the log.
    package let text: String

    /// Schemes under which GnuTLS knows keys. Support depends on how GnuTLS was built.
    package static let schemes = ["pkcs11", "tpmkey", "system"]

    /// File in `pin-source` (RFC 7512 §2.4), as `file:` or as a path; `nil` if there is none.
    package var pinFile: String? {
        guard let value = query.lazy.compactMap({ Self.value(of: "pin-source", in: $0) }).first else { return nil }
        let path =
            value.hasPrefix("file://") ? value.dropFirst(7) : value.hasPrefix("file:") ? value.dropFirst(5) : value[...]
        return path.hasPrefix("/") ? String(path) : nil
    }

    /// The URL without `pin-source`, for the process that opens it, which reads no files. It may contain a PIN
    /// (`pin-value`).
    package var withoutPINFile: String {
        guard pinFile != nil else { return text }
        let rest = query.filter { Self.value(of: "pin-source", in: $0) == nil }
        return rest.isEmpty ? String(head) : "\(head)?\(rest.joined(separator: "&"))"
    }

    /// Attributes that identify token and object, for the log. They are not secret by RFC 7512 §2.3.
    package var label: String {
        let shown = ["token", "serial", "object", "id", "type"]
        let attributes = head.dropFirst(scheme.utf8.count + 1).split(separator: ";").filter { attribute in
            shown.contains { Self.value(of: $0, in: attribute) != nil }
        }
        return attributes.isEmpty ? description : "\(scheme):\(attributes.joined(separator: ";"))"
    }

    /// The part before the question mark.
    private var head: Substring { text.prefix { $0 != "?" } }

    private var query: [Substring] { text.dropFirst(head.count + 1).split(separator: "&") }

    /// The percent-decoded value of `name=value`.
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

    /// Returns `true` if the text is a URL with a known scheme.
    static func isOpenable(_ text: String) -> Bool {
        scheme(of: text).map(schemes.contains) ?? false
    }

    /// Scheme of a URL in lower case, because schemes are case-insensitive; `nil` if the text is not a URL.
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
