/// An error whose caller needs only its text: the problem, and the remedy if there is one.
package struct TextError: Error, Sendable, Equatable, CustomStringConvertible {
    package let description: String

    package init(_ description: String) {
        self.description = description
    }

    /// The value of a call. Its error gets an introduction, and a remedy.
    package static func of<Value: ~Copyable>(
        _ problem: String, remedy: String? = nil, _ call: @autoclosure () throws -> Value
    ) throws(TextError) -> Value {
        do {
            return try call()
        } catch {
            throw TextError("\(problem): \(error)" + (remedy.map { "; remedy: \($0)" } ?? ""))
        }
    }
}
