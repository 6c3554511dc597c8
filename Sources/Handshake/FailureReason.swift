/// Every reason for which a handshake can end without keys. The raw value travels from worker to broker.
///
/// `FailureTable` says for each which status the kernel is told, which alert the peer is sent, and what the operator
/// reads; docs/upcall.md shows the same table, and a test holds the two together.
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

    // What the two ends could not agree on.
    case noCommonCipherSuite
    case noCommonGroup
    case noCommonSignatureScheme
    case protocolVersionUnsupported
    case applicationProtocolMismatch
    case applicationProtocolMissing

    // What the peer told us or did.
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
