/// A handshake that ended without keys: the reason, and the details of this case.
package struct HandshakeFailure: Error, Sendable, Equatable {
    package let reason: FailureReason
    /// Details such as a file, a subject, a date or an errno. Printed in parentheses; never key material.
    package let detail: String

    package init(_ reason: FailureReason, _ detail: String = "") {
        self.reason = reason
        self.detail = detail
    }
}
