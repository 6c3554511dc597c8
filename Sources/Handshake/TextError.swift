extension BinaryInteger {
    /// The number with a noun in the right form, such as `1 PSK` or `2 PSKs`.
    package func counted(_ one: String, _ several: String? = nil) -> String {
        "\(self) \(self == 1 ? one : several ?? one + "s")"
    }
}

/// An error whose caller needs only its text: the problem, and the remedy if there is one.
package struct TextError: Error, Sendable, Equatable, CustomStringConvertible {
    package let problem: String
    package let remedy: String?
    /// Problem and remedy in one line.
    package let description: String

    package init(problem: String, remedy: String?, description: String) {
        self.problem = problem
        self.remedy = remedy
        self.description = description
    }

    /// - Parameter joint: text between problem and remedy.
    package init(_ problem: String, remedy: String? = nil, joint: String = "; remedy: ") {
        let description = remedy.map { problem + joint + $0 }
        self.init(problem: problem, remedy: remedy, description: description ?? problem)
    }

    /// The same error with an introduction.
    package func introduced(by text: String) -> TextError {
        TextError(problem: text + problem, remedy: remedy, description: text + description)
    }

    /// The value of a call. Its error gets an introduction, and a remedy.
    package static func of<Value: ~Copyable>(
        _ problem: String, remedy: String? = nil, _ call: @autoclosure () throws -> Value
    ) throws(TextError) -> Value {
        do {
            return try call()
        } catch {
            throw TextError("\(problem): \(error)", remedy: remedy)
        }
    }
}
