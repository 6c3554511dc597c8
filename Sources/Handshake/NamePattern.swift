/// A certificate's subject or issuer with wildcards, in RFC 4514 syntax: `CN=*,O=Example`.
///
/// Names are compared RDN by RDN and attribute by attribute, on unescaped values, so that no value can imitate another
/// RDN, whatever characters it contains. `*` and `?` match within one value. A lone `*` matches an RDN with one
/// attribute of any type.
package struct NamePattern: Sendable, Hashable {
    package let text: String
    private let parts: [[NameAttribute]]

    /// `nil` for a text that cannot match any name: a syntax error, an unknown attribute type, or a numeric type whose
    /// value is not `#` and hexadecimal digits, the form in which GnuTLS prints such values.
    package init?(_ text: String) {
        guard let parts = NameAttribute.parts(of: text, isPattern: true),
            parts.allSatisfy({ $0.count <= Self.mostAttributes && $0.allSatisfy(\.canFit) })
        else { return nil }
        self.text = text
        self.parts = parts
    }

    /// Limit of attributes in an RDN. Their order is not significant (RFC 4514 §2.2), so each is compared with each.
    private static let mostAttributes = 4

    /// Limit of a name in bytes. Longer names never match, which bounds the work that a peer can cause.
    private static let longestName = 4096

    /// - Parameter name: RFC 4514 text. A name that cannot be parsed never matches.
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

    /// True if the RDN that is usually the least specific comes first, which is unusual and most often a mistake.
    package var isReversed: Bool {
        let ranks = parts.compactMap { $0.first.flatMap { Self.ranks[$0.type] } }
        guard let first = ranks.first, let last = ranks.last else { return false }
        return first > last
    }

    /// Usual distance of an attribute type from the leaf of the directory.
    private static let ranks = ["cn": 0, "uid": 0, "email": 0, "ou": 1, "o": 2, "l": 3, "st": 4, "c": 5, "dc": 5]
}

/// An attribute of a name, or of a pattern.
private struct NameAttribute: Sendable, Hashable {
    /// GnuTLS name in lower case; `*` for any.
    let type: String
    /// Unescaped.
    let value: [PatternElement]
    /// True if the value is `#` and the hexadecimal digits of its encoding instead of text.
    let isEncoded: Bool

    private enum Token: Equatable {
        case plain(Unicode.Scalar)
        case escaped(Unicode.Scalar)
    }

    func fits(_ given: NameAttribute) -> Bool {
        guard type == Self.anyType || type == given.type else { return false }
        return value == [.any] || (isEncoded == given.isEncoded && PatternElement.match(value, given.value))
    }

    /// True if a pattern with this attribute can match a name that GnuTLS has formatted.
    var canFit: Bool {
        if type == Self.anyType || Self.numbers[type] != nil { return true }
        return isObjectIdentifier(type) && (isEncoded || value == [.any])
    }

    /// The RDNs of a name, each with its attributes; `nil` if the text is not a name.
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

    /// Removes unescaped blanks around an RDN, type or value.
    private static func trimmed(_ tokens: ArraySlice<Token>) -> ArraySlice<Token> {
        var tokens = tokens.drop { $0 == .plain(" ") }
        while tokens.last == .plain(" ") { tokens.removeLast() }
        return tokens
    }

    /// The unescaped characters of a text (RFC 4514 §3); `nil` if a backslash is followed by something that cannot be
    /// escaped.
    private static func tokens(of text: [Unicode.Scalar]) -> [Token]? {
        var tokens: [Token] = []
        // UTF-8 bytes that were escaped as hexadecimal digits.
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

    /// Characters in RFC 4514 §2.4 and §3, and the wildcards.
    private static let escapable = Set(" \"#+,;<=>\\*?".unicodeScalars)

    /// Attribute types that GnuTLS prints by name, with their object identifiers.
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

    /// Other names of the types: object identifiers, and the names of RFC 4519 and OpenSSL.
    private static let aliases = numbers.reduce(
        into: [
            "commonname": "cn", "countryname": "c", "domaincomponent": "dc", "e": "email", "emailaddress": "email",
            "gn": "givenname", "localityname": "l", "organizationalunitname": "ou", "organizationname": "o", "s": "st",
            "sn": "surname", "stateorprovincename": "st", "streetaddress": "street", "userid": "uid",
        ]
    ) { aliases, type in aliases[type.value] = type.key }
}

/// A case-sensitive pattern that must match a whole text: `*` matches any number of characters, `?` matches one.
package struct TextPattern: Sendable, Hashable {
    package let text: String

    package init(_ text: String) {
        self.text = text
    }

    package static func isWildcard(_ byte: UInt8) -> Bool { byte == UInt8(ascii: "*") || byte == UInt8(ascii: "?") }

    /// Number of wildcards.
    package var wildcards: Int { text.utf8.count(where: Self.isWildcard) }

    package func matches(_ candidate: String) -> Bool {
        PatternElement.match(
            text.unicodeScalars.map(PatternElement.init(pattern:)), candidate.unicodeScalars.map { .character($0) })
    }

    /// Matches the RFC 4514 text of a name. There a backslash and the following character count as one character, so
    /// that a comma in the pattern, which separates RDNs, never matches an escaped comma in a value.
    package func matches(name: String) -> Bool {
        PatternElement.match(
            Self.elements(of: text, PatternElement.init(pattern:)), Self.elements(of: name) { .character($0) })
    }

    private static func elements(
        of text: String, _ plain: (Unicode.Scalar) -> PatternElement
    ) -> [PatternElement] {
        var elements: [PatternElement] = []
        var isEscaped = false
        for scalar in text.unicodeScalars {
            if isEscaped {
                elements.append(.escaped(scalar))
                isEscaped = false
            } else if scalar == "\\" {
                isEscaped = true
            } else {
                elements.append(plain(scalar))
            }
        }
        return isEscaped ? elements + [.character("\\")] : elements
    }
}

/// An element of a pattern, or of the text to match, which has no wildcards.
enum PatternElement: Sendable, Hashable {
    /// `*`.
    case any
    /// `?`.
    case one
    case character(Unicode.Scalar)
    /// A backslash and the following character.
    case escaped(Unicode.Scalar)

    init(pattern scalar: Unicode.Scalar) {
        self = scalar == "*" ? .any : scalar == "?" ? .one : .character(scalar)
    }

    /// Returns `true` if the pattern matches the whole subject.
    static func match(_ pattern: [PatternElement], _ subject: [PatternElement]) -> Bool {
        var place = 0
        var index = 0
        // Position to resume from if the text after the last `*` does not match. Only the last `*` ever needs another
        // try.
        var retry: (place: Int, index: Int)?
        while index < subject.count {
            if place < pattern.count, pattern[place] == .any {
                retry = (place, index)
                place += 1
            } else if place < pattern.count, pattern[place] == .one || pattern[place] == subject[index] {
                place += 1
                index += 1
            } else if let last = retry {
                retry = (last.place, last.index + 1)
                place = last.place + 1
                index = last.index + 1
            } else {
                return false
            }
        }
        return pattern[place...].allSatisfy { $0 == .any }
    }
}

/// DNS names in rules.
package enum DomainPattern {
    /// Compares names case-insensitively (RFC 4343). A leading `*.` stands for one label (RFC 6125 §6.4.3).
    package static func matches(_ pattern: String, _ name: String) -> Bool {
        let wanted = folded(pattern)
        let given = folded(name)
        guard wanted.starts(with: "*.".utf8) else { return given == wanted }
        guard let dot = given.firstIndex(of: UInt8(ascii: ".")), dot > given.startIndex else { return false }
        return given[dot...] == wanted.dropFirst()
    }

    /// Folds ASCII letters only: DNS has no case for other letters, and Unicode folding would map some of them to
    /// ASCII.
    private static func folded(_ text: String) -> [UInt8] {
        text.utf8.map { (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains($0) ? $0 | 0x20 : $0 }
    }
}
