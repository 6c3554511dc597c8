/// A setting with its origin, so that a later error can name the line.
package struct Located<Value> {
    package let value: Value
    package let origin: SettingOrigin

    package init(_ value: Value, origin: SettingOrigin) {
        self.value = value
        self.origin = origin
    }
}

extension Located: Equatable where Value: Equatable {}
extension Located: Sendable where Value: Sendable {}

/// Origin of a setting.
package enum SettingOrigin: Equatable, Sendable, CustomStringConvertible {
    case builtIn
    case line(file: String, line: Int)

    /// `file:line`, or `built in`.
    package var description: String {
        switch self {
        case .builtIn: "built in"
        case .line(let file, let line): "\(file):\(line)"
        }
    }
}
