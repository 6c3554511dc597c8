/// A certificate's subject or issuer with wildcards, written as RFC 4514 does: `CN=*,O=Example`.
///
/// It is compared part by part, attribute by attribute, on values without their escapes: no value can pretend to be
/// another part, whatever characters it has. `*` and `?` keep within one value; `*` alone stands for a part of one
/// attribute of any type.
package struct NamePattern: Sendable, Hashable {
    package let text: String
    private let parts: [[NameAttribute]]

    /// `nil` for a text that fits no name: another syntax, an attribute type that is not known, or one that is a number
    /// with a value that is not `#` and hexadecimal digits, as which such values are shown.
    package init?(_ text: String) {
        guard let parts = NameAttribute.parts(of: text, isPattern: true),
            parts.allSatisfy({ $0.count <= Self.mostAttributes && $0.allSatisfy(\.canFit) })
        else { return nil }
        self.text = text
        self.parts = parts
    }

    /// In one part: each of them is compared with each of the part's, as their order says nothing (RFC 4514 §2.2).
    private static let mostAttributes = 4

    /// A longer name fits no pattern: what a peer can have us compare is bounded.
    private static let longestName = 4096

    /// - Parameter name: RFC 4514 text; one that cannot be read fits no pattern.
    package func matches(_ name: String) -> Bool {
        guard name.utf8.count <= Self.longestName, let given = NameAttribute.parts(of: name, isPattern: false),
            given.count == parts.count
        else { return false }
        return zip(parts, given).allSatisfy { wanted, given in
            wanted.count == given.count && Self.fits(wanted[...], given)
        }
    }

    private static func fits(_ wanted: ArraySlice<NameAttribute>, _ given: [NameAttribute]) -> Bool {
        guard let first = wanted.first else { return true }
        return given.indices.contains { index in
            var others = given
            return first.fits(others.remove(at: index)) && fits(wanted.dropFirst(), others)
        }
    }

    /// Whether the part that is usually the least specific comes first, which few names have: most often it is a slip.
    package var isReversed: Bool {
        let ranks = parts.compactMap { $0.first.flatMap { Self.ranks[$0.type] } }
        guard let first = ranks.first, let last = ranks.last else { return false }
        return first > last
    }

    /// How far from the leaf of the directory an attribute usually is.
    private static let ranks = ["cn": 0, "uid": 0, "email": 0, "ou": 1, "o": 2, "l": 3, "st": 4, "c": 5, "dc": 5]
}

/// An attribute of a name, or of a pattern.
private struct NameAttribute: Sendable, Hashable {
    /// As the TLS library names it, in lower case; `*` for any.
    let type: String
    /// Without its escapes.
    let value: [PatternElement]
    /// The value is `#` and the hexadecimal digits of its encoding, not the text itself.
    let isEncoded: Bool

    private enum Token: Equatable {
        case plain(Unicode.Scalar)
        case escaped(Unicode.Scalar)
    }

    func fits(_ given: NameAttribute) -> Bool {
        guard type == Self.anyType || type == given.type else { return false }
        return value == [.any] || (isEncoded == given.isEncoded && PatternElement.match(value, given.value))
    }

    /// Whether a pattern with it can fit a name that the TLS library has written.
    var canFit: Bool {
        if type == Self.anyType || Self.numbers[type] != nil { return true }
        return isObjectIdentifier(type) && (isEncoded || value == [.any])
    }

    /// The parts of a name, each with its attributes; `nil` for a text that is no name.
    static func parts(of text: String, isPattern: Bool) -> [[NameAttribute]]? {
        guard let tokens = tokens(of: Array(text.unicodeScalars)) else { return nil }
        var parts: [[NameAttribute]] = []
        for part in tokens.split(separator: .plain(","), omittingEmptySubsequences: false) {
            var attributes: [NameAttribute] = []
            for attribute in part.split(separator: .plain("+"), omittingEmptySubsequences: false) {
                guard let read = NameAttribute(trimmed(attribute), isPattern) else { return nil }
                attributes.append(read)
            }
            parts.append(attributes)
        }
        return parts
    }

    private static let anyType = "*"

    private init?(_ tokens: ArraySlice<Token>, _ isPattern: Bool) {
        func element(_ token: Token) -> PatternElement {
            switch token {
            case .plain(let scalar): isPattern ? PatternElement(pattern: scalar) : .character(scalar)
            case .escaped(let scalar): .character(scalar)
            }
        }
        if isPattern, Array(tokens) == [.plain("*")] {
            (type, value, isEncoded) = (Self.anyType, [.any], false)
            return
        }
        guard let equals = tokens.firstIndex(of: .plain("=")) else { return nil }
        var name = ""
        for token in Self.trimmed(tokens[..<equals]) {
            guard case .plain(let scalar) = token else { return nil }
            name.unicodeScalars.append(scalar)
        }
        let value = Self.trimmed(tokens[tokens.index(after: equals)...])
        let folded = name.lowercased()
        type = Self.aliases[folded] ?? folded
        self.value = value.map(element)
        isEncoded = value.first == .plain("#")
    }

    /// Blanks around a part, type or value are no part of it unless they are escaped.
    private static func trimmed(_ tokens: ArraySlice<Token>) -> ArraySlice<Token> {
        var tokens = tokens.drop { $0 == .plain(" ") }
        while tokens.last == .plain(" ") { tokens.removeLast() }
        return tokens
    }

    /// The characters of a text without their backslashes (RFC 4514 §3); `nil` where there is nothing that could be
    /// escaped behind one.
    private static func tokens(of text: [Unicode.Scalar]) -> [Token]? {
        var tokens: [Token] = []
        // Bytes of UTF-8 that are escaped as hexadecimal digits.
        var bytes: [UInt8] = []
        var index = 0
        func flush() -> Bool {
            guard let decoded = String(validating: bytes, as: UTF8.self) else { return false }
            tokens += decoded.unicodeScalars.map { .escaped($0) }
            bytes = []
            return true
        }
        while index < text.count {
            let escape = text[index] == "\\" ? text[(index + 1)...].prefix(2) : []
            let digits = escape.compactMap { $0.isASCII ? Character($0).hexDigitValue : nil }
            if digits.count == 2 {
                bytes.append(UInt8(digits[0] << 4 | digits[1]))
                index += 3
                continue
            }
            guard flush() else { return nil }
            if text[index] != "\\" {
                tokens.append(.plain(text[index]))
                index += 1
            } else if let character = escape.first, escapable.contains(character) {
                tokens.append(.escaped(character))
                index += 2
            } else {
                return nil
            }
        }
        return flush() ? tokens : nil
    }

    /// RFC 4514 §2.4 and §3, and the wildcards.
    private static let escapable = Set(" \"#+,;<=>\\*?".unicodeScalars)

    /// The attribute types that the TLS library writes by name, with their numbers.
    private static let numbers = [
        "businesscategory": "2.5.4.15", "c": "2.5.4.6", "cn": "2.5.4.3", "countryofcitizenship": "1.3.6.1.5.5.7.9.4",
        "countryofresidence": "1.3.6.1.5.5.7.9.5", "dc": "0.9.2342.19200300.100.1.25", "description": "2.5.4.13",
        "dnqualifier": "2.5.4.46", "email": "1.2.840.113549.1.9.1", "gender": "1.3.6.1.5.5.7.9.3",
        "generationqualifier": "2.5.4.44", "givenname": "2.5.4.42", "initials": "2.5.4.43", "inn": "1.2.643.3.131.1.1",
        "jurisdictionofincorporationcountryname": "1.3.6.1.4.1.311.60.2.1.3",
        "jurisdictionofincorporationlocalityname": "1.3.6.1.4.1.311.60.2.1.1",
        "jurisdictionofincorporationstateorprovincename": "1.3.6.1.4.1.311.60.2.1.2", "l": "2.5.4.7",
        "name": "2.5.4.41", "o": "2.5.4.10", "ogrn": "1.2.643.100.1", "ogrnip": "1.2.643.100.5", "ou": "2.5.4.11",
        "placeofbirth": "1.3.6.1.5.5.7.9.2", "postalcode": "2.5.4.17", "pseudonym": "2.5.4.65",
        "serialnumber": "2.5.4.5", "snils": "1.2.643.100.3", "st": "2.5.4.8", "street": "2.5.4.9",
        "surname": "2.5.4.4", "telephonenumber": "2.5.4.20", "title": "2.5.4.12", "uid": "0.9.2342.19200300.100.1.1",
        "userprincipalname": "1.2.840.113556.1.4.656", "xmppaddr": "1.3.6.1.5.5.7.8.5",
    ]

    /// What else they are called: by number, by RFC 4519 and by OpenSSL.
    private static let aliases = numbers.reduce(
        into: [
            "commonname": "cn", "countryname": "c", "domaincomponent": "dc", "e": "email", "emailaddress": "email",
            "gn": "givenname", "localityname": "l", "organizationalunitname": "ou", "organizationname": "o", "s": "st",
            "sn": "surname", "stateorprovincename": "st", "streetaddress": "street", "userid": "uid",
        ]
    ) { aliases, type in aliases[type.value] = type.key }
}
