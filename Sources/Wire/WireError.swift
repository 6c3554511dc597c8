/// An error in a message. The offset counts bytes from the start of the whole message.
package enum WireError: Error, Sendable, Equatable, CustomStringConvertible {
    /// Fewer bytes than the field needs.
    case truncated(field: String, offset: Int)
    /// Bytes are left where the message should end.
    case trailingBytes(message: String, offset: Int)
    /// A length, count or number outside what the format allows.
    case outOfRange(field: String, offset: Int)
    /// A value that the format does not define.
    case unknownValue(field: String, value: UInt64, offset: Int)
    /// Text that is not UTF-8, or holds a NUL where none may be.
    case malformedText(field: String, offset: Int)
    /// A field that must be there is not.
    case missing(field: String)
    /// A field that may stand once stands twice.
    case duplicate(field: String, offset: Int)
    /// The message does not fit into the buffer that it should be written to.
    case doesNotFit(message: String, size: Int)

    /// The error and its place, for a log line.
    package var description: String {
        switch self {
        case .truncated(let field, let offset): "\(field) is cut short at byte \(offset)"
        case .trailingBytes(let message, let offset): "\(message) goes on behind its end at byte \(offset)"
        case .outOfRange(let field, let offset): "\(field) is out of range at byte \(offset)"
        case .unknownValue(let field, let value, let offset):
            "\(field) has the unknown value \(value) at byte \(offset)"
        case .malformedText(let field, let offset): "\(field) is not text at byte \(offset)"
        case .missing(let field): "\(field) is missing"
        case .duplicate(let field, let offset): "\(field) stands twice, again at byte \(offset)"
        case .doesNotFit(let message, let size): "\(message) does not fit into \(size) bytes"
        }
    }
}
