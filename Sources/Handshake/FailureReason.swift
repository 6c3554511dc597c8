/// The reason why a handshake ended without keys. Workers send the raw value to the broker.
///
/// Everything else about a reason is in its row of the table in FailureTable.swift, which docs/upcall.md prints; a test
/// compares them.
package enum FailureReason: UInt16, Sendable, Equatable, CaseIterable {
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
