internal import Handshake
internal import Policy

/// JSON text (RFC 8259), as far as the answers need it; the daemon uses no JSON library.
enum JSON {
    case text(String)
    case number(Int)
    case flag(Bool)
    case null
    case list([JSON])
    case object([(String, JSON)])

    static func texts(_ texts: [String]) -> JSON { .list(texts.map { .text($0) }) }

    var description: String {
        switch self {
        case .text(let text): Self.quoted(text)
        case .number(let number): "\(number)"
        case .flag(let flag): flag ? "true" : "false"
        case .null: "null"
        case .list(let items): "[" + items.map(\.description).joined(separator: ",") + "]"
        case .object(let members):
            "{" + members.map { "\(Self.quoted($0.0)):\($0.1.description)" }.joined(separator: ",") + "}"
        }
    }

    private static func quoted(_ text: String) -> String {
        var quoted = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": quoted += "\\\""
            case "\\": quoted += "\\\\"
            // Escaped, because a document may be displayed on a terminal.
            case _ where scalar.isControlling:
                for unit in String(scalar).utf16 {
                    let digits = String(unit, radix: 16)
                    quoted += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
                }
            default: quoted.unicodeScalars.append(scalar)
            }
        }
        return quoted + "\""
    }
}
