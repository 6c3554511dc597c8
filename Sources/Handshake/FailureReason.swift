/// The reason why a handshake ended without keys. Workers send the raw value to the broker.
///
/// `FailureTable` has the status for the kernel, the alert for the peer, and the text for the operator. docs/upcall.md
/// prints the same table; a test compares them.
package enum FailureReason: UInt16, Error, Sendable, Equatable, CaseIterable {
    // The peer's certificate.
    case certificateExpired = 1
    case certificateNotYetValid
    case certificateRevoked
    case certificateUnknownAuthority
    case certificateNameMismatch
    case certificatePurposeMismatch
    case certificateInsecureAlgorithm
    case certificateSignatureInvalid
    case certificateRevocationOutdated
    case certificateInvalid
    case certificateMissing
    case certificateNotPinned
    case certificateNotAllowed
    case trustAnchorExpired
    case certificateTooCostly

    // Pre-shared keys.
    case pskIdentityUnknown
    case pskBinderMismatch
    case pskUnreadable
    case pskGone
    case pskHashUnsupported
    case pskTicketAgeUnsupported

    // Parameters without a common value.
    case noCommonCipherSuite
    case noCommonGroup
    case noCommonSignatureScheme
    case protocolVersionUnsupported
    case applicationProtocolMismatch
    case applicationProtocolMissing

    // Alerts and errors of the peer.
    case alertUnknownPSKIdentity
    case alertReceived
    case alertInternalError
    case peerClosed
    case connectionReset
    case deadlineExceeded
    case peerSpeaksPlainText
    case protocolViolation
    case handshakeTooLong

    // Our own side.
    case roleNotConfigured
    case noProfile
    case certificateUnreadable
    case privateKeyUnreadable
    case requestUnsupported
    case requestMalformed
    case peerNameMissing
    case prioritiesUnusable
    case limitsUnusable
    case socketUnsupported
    case kernelTLSUnavailable
    case kernelTLSCipherUnsupported
    case kernelTLSFailed
    case recordSizeLimitUnsupported
    case keyUpdatesOff
    case sessionUnknown
    case sessionElsewhere
    case workerLost
    case noWorkerReady
    case signerUnavailable
    case overloaded
    case peerPenalised
    case shuttingDown
    case libraryFailure
}
