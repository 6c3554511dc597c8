/// A value of a YAML document, always as text: numbers, dates and booleans are not interpreted.
package struct YAMLNode: Equatable, Sendable {
    package let place: TextPlace
    package let value: Value

    package indirect enum Value: Equatable, Sendable {
        /// A key or an item without value.
        case empty
        case scalar(String)
        case sequence([YAMLNode])
        /// In file order; keys are unique.
        case mapping([YAMLEntry])
    }
}

package struct YAMLEntry: Equatable, Sendable {
    package let key: String
    package let place: TextPlace
    package let node: YAMLNode
}

/// A position in a file; both counted from 1, the column in bytes.
package struct TextPlace: Equatable, Sendable {
    package let line: Int
    package let column: Int
}

/// Text that is not in the supported subset of YAML.
package enum YAMLProblem: Equatable, Sendable {
    case notUTF8
    case tooLarge
    case character
    case tab
    case directive
    case textAfterMarker
    case tooDeep
    case indentation
    case anchor
    case alias
    case typeTag
    case blockText
    case complexKey
    case reserved
    case quoteOpen
    case escape
    case textAfterValue
    case colonInText
    case keyMissing
    case duplicateKey
    case nestedInSequence
    case flowOpen
    case flowSeparator
    case flowText
    case flowIndentation

    package var what: String {
        switch self {
        case .notUTF8: "the file is not UTF-8 text"
        case .tooLarge: "the file is larger than \(YAMLParser.limit) bytes"
        case .character: "there is a control character or an unusual line break"
        case .tab: "there is a tab where blanks are expected"
        case .directive: "a line begins with %"
        case .textAfterMarker: "there is text after --- or ..."
        case .tooDeep: "lists or keys are nested more than \(YAMLParser.deepest) deep"
        case .indentation: "the line is indented in a way that fits nothing before it"
        case .anchor: "there is an anchor (&)"
        case .alias: "there is an alias, as the text begins with *"
        case .typeTag: "there is a type (!)"
        case .blockText: "there is a text of several lines (| or >)"
        case .complexKey: "there is a ? or - where a plain key or text is expected"
        case .reserved: "the text begins with a character that YAML reserves"
        case .quoteOpen: "a quote is not closed on its line"
        case .escape: "there is a backslash that is not followed by \\, \", n or t"
        case .textAfterValue: "there is text after the value"
        case .colonInText: "there is a colon and a blank within a text"
        case .keyMissing: "a key and a colon are expected"
        case .duplicateKey: "the key is repeated"
        case .nestedInSequence: "an item of a list is a list or has keys"
        case .flowOpen: "a [ or { is not closed"
        case .flowSeparator: "a comma or the closing bracket is expected"
        case .flowText: "a text inside brackets has a bracket, or a colon without a blank, in it"
        case .flowIndentation: "a line inside brackets must be indented further than the key before them"
        }
    }

    package var remedy: String {
        switch self {
        case .notUTF8, .character: "write the file in UTF-8, with newlines only"
        case .tooLarge: "use several files"
        case .tab, .indentation, .flowIndentation: "indent with blanks, alike within one list of keys"
        case .directive, .textAfterMarker: "remove it, or put it on a line of its own"
        case .tooDeep: "filters and tags need three levels"
        case .anchor, .typeTag: "remove it"
        case .alias, .reserved, .colonInText, .flowText: "put the text in single quotes"
        case .blockText, .quoteOpen: "write it on one line"
        case .complexKey: "write key: value, or put the text in single quotes"
        case .escape: "use single quotes, in which a backslash means itself"
        case .textAfterValue: "put a blank before the # of a comment, and texts with special characters in quotes"
        case .keyMissing: "write key: value"
        case .duplicateKey: "give each its own name"
        case .nestedInSequence: "write names, one an item"
        case .flowOpen, .flowSeparator: "write [a, b] or {key: value}"
        }
    }
}
