/// Why a handshake ended without keys: the reason, and the particulars of this case.
package struct HandshakeFailure: Error, Sendable, Equatable {
    package let reason: FailureReason
    /// What only this case knows: a file, a subject, a date, an errno. Shown in parentheses; never key material.
    package let detail: String

    package init(_ reason: FailureReason, _ detail: String = "") {
        self.reason = reason
        self.detail = detail
    }
}
