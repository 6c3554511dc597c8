/// A handshake that ended without keys: the reason, and the details of this case.
package struct HandshakeFailure: Error, Sendable, Equatable {
    package let reason: FailureReason
    /// Details such as a file, a subject, a date or an errno. Printed in parentheses; never key material.
    package let detail: String
    /// Alert for the peer: that of the reason's row, unless RFC 8446 prescribes another for this case. It is not in a
    /// worker's result, because the worker sends it itself.
    package let alert: Alert?

    package init(_ reason: FailureReason, _ detail: String = "", alert: Alert? = nil) {
        self.reason = reason
        self.detail = detail
        self.alert = alert ?? reason.row.alert
    }

    /// The value of a call. Its error fails the handshake for this reason.
    package static func of<Value: ~Copyable>(
        _ reason: FailureReason, _ call: @autoclosure () throws -> Value
    ) throws(HandshakeFailure) -> Value {
        do {
            return try call()
        } catch {
            throw HandshakeFailure(reason, "\(error)")
        }
    }
}
