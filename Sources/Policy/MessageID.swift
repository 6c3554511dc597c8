package import Handshake

/// A journal event other than a failed handshake. The raw value is its MESSAGE_ID.
///
/// Scripts and the catalogue (systemd/tlshd.catalog) refer to these IDs: a published ID is never changed or reused.
package enum LogEvent: String, Sendable, CaseIterable {
    /// A handshake has succeeded.
    case handshakeSucceeded = "ae8007625cba4859a890a1a4d610fb19"
    /// A connection has new keys.
    case keysUpdated = "7ce299c500ac4502ae75e3f825a7bcf4"
    /// The daemon is ready.
    case ready = "4da163cb721b40e38e85a4853bd19fb3"
    /// The daemon has ended.
    case stopped = "c9e66ebaa2744cdbb334324b24961bb5"
    /// GnuTLS policy and kernel leave no cipher suite.
    case cannotServe = "7ca1217e659a49a1857700eb24ba1854"
    /// Settings were read and are in force.
    case settingsInForce = "6866e6441c7743cfbc4baa5c24719b80"
    /// Settings files cannot be used.
    case settingsRefused = "9ab227d19ded486eb5bafb5e8f71f5fa"
    /// Changed session tags cannot be used.
    case tagsRefused = "7296e5c441a746b68ed107c893c712c4"
    /// A role's certificates, keys and stores were read and are in force.
    case credentialsInForce = "5e50fd07557b4b2abc5cadef4d8fd8af"
    /// A role's certificates, keys or stores cannot be used.
    case credentialsRefused = "be8a083e01fd476db1cdd662cb604076"
    /// Keyrings, or the keys of `psk.file`, cannot be used.
    case keysRefused = "c54749f845cf471dbde8fb195f7d34bc"
    /// A worker died or was killed.
    case workerEnded = "d15e6b30853b42e8bbda39647e38e5bd"
    /// Workers die repeatedly; their restarts are delayed.
    case workersDieYoung = "2d429f3e769a4ff584c38da3b50a62fb"
    /// A worker cannot be started.
    case workerNotStarted = "da0151a6db23452ea6bb0cd0b66d7cf3"
    /// Part of a sandbox is not available on this kernel.
    case lessConfined = "7a2486b891a24163a0e8765836c964e0"
    /// The signer died or was killed.
    case signerEnded = "25889a3232114afb858929acad6b8f26"
    /// The signer cannot be started.
    case signerNotStarted = "5875cded49854345acb9e4edc1b23422"
    /// Another process also takes handshake requests, or may do so.
    case rivalListens = "c69ff247695448419ffaa9e10ce95a59"
    /// The other process no longer does.
    case rivalGone = "134b566f2e4a4c6a9a03d0e2219af8fd"
    /// A consumer repeatedly drops connections after a successful handshake.
    case consumerReconnects = "bc91a63b3ce04b25958e2310245d0fc6"
    /// An unauthenticated peer exceeded its processor time budget.
    case handshakeOverBudget = "57c5240665e049bba3ead135f02b528f"
    /// A peer is refused for a time because it cost too much.
    case peerRefused = "ac3e8367807f4bbfad99504d2989e7b6"
    /// Log lines about failed handshakes were omitted.
    case failuresSummarised = "fcc8502421be4bc8a2657541e894aea5"
    /// A network namespace cannot be served.
    case namespaceNotServed = "f3eef85da026482db6a9663d6efe1fe8"
}

extension FailureReason {
    /// MESSAGE_ID of the log line of a handshake that failed for this reason. Never changed, like those of `LogEvent`.
    package var messageID: String {
        switch self {
        case .certificateExpired: "65165d93daef4ae9b02a6b5c7db4b57d"
        case .certificateNotYetValid: "3b6d65a360b446df81e587b2e604ee39"
        case .certificateRevoked: "e052609944d94663bb15543b24642704"
        case .certificateUnknownAuthority: "4ec5315347744b1f9008e06ed817ce7f"
        case .certificateNameMismatch: "57bd7a8f68e1475f9d972390c57200b7"
        case .certificatePurposeMismatch: "6ca614ab29564677ad9a4aec8f9e6943"
        case .certificateInsecureAlgorithm: "806d4b2f8836488dbff7e646854e4150"
        case .certificateSignatureInvalid: "f8f52512ff3c4852ad4119ef647600e7"
        case .certificateRevocationOutdated: "1cae68fe930348419276d8558695391c"
        case .certificateInvalid: "6e4f7316ef2b4fde802434dba89db178"
        case .certificateMissing: "fea462aabf9e4cc2a4e4478d37231cad"
        case .certificateNotPinned: "365379a1121242cfa3adf13a59c24ed4"
        case .certificateNotAllowed: "f6a2531e832043468c833d6acd092722"
        case .trustAnchorExpired: "2f6b1d0c9a5e4e7b8c3d7a41e0b96d58"
        case .certificateTooCostly: "b4056b2f036f45d3b40d92655a0aca5e"
        case .pskIdentityUnknown: "111561d11bb74a249565d786a7592ca8"
        case .pskBinderMismatch: "1b683f93fa40486fb21d6dd7a94d51cd"
        case .pskUnreadable: "3e1c63d3e10147b6a3f3ca9573f9e426"
        case .pskGone: "1cbc15e009884ec384a2640d745bb290"
        case .pskHashUnsupported: "f4cc6b00085448a7afbb9c1ee5615365"
        case .pskTicketAgeUnsupported: "5ac355377f0b47d7bb1b94f35ec9d767"
        case .noCommonCipherSuite: "2a9140d84c86420da899f081d0f155f8"
        case .noCommonGroup: "739bdef55e154f0392042b90b93b495b"
        case .noCommonSignatureScheme: "e2fa14f0435d41e1abab88c0ce8e88ad"
        case .protocolVersionUnsupported: "8ecd2bce778148ab9545fa1fbf2a1f7f"
        case .applicationProtocolMismatch: "fa4098cdef364a2d954eb49c14360105"
        case .applicationProtocolMissing: "82125794a89540adb0c7cb7c23fe0780"
        case .alertUnknownPSKIdentity: "ee0546882dd94fc397d761c7d1accdbc"
        case .alertReceived: "c2639e7b99de4042aa1f6f9b35e0e468"
        case .alertInternalError: "4d9b023ff8c2455ca1fb9af54bb78758"
        case .peerClosed: "5307d8a2f9e144388129dea076d7cbb3"
        case .connectionReset: "ff4a8b66a2dc4bb2a6fd18ab5c5f7b20"
        case .deadlineExceeded: "eacee9ec2ef44426a6a19ed98b75962f"
        case .peerSpeaksPlainText: "de9a52a6d3d346b3a1cad058682d4ea2"
        case .protocolViolation: "91508b8137974467a400efd61ebdee5b"
        case .handshakeTooLong: "d793e67f50e8491ea42259e7a78b60c4"
        case .roleNotConfigured: "4bde3620da0d454eb71f24c4a2192e14"
        case .noProfile: "7960549142a841109a6a850515b40820"
        case .certificateUnreadable: "29997df8918a4c6a960c01694012a6a8"
        case .privateKeyUnreadable: "ee286a22cb75452c832e547b5851cc64"
        case .requestUnsupported: "6b3dbdf917b84cd487e9404daeccff01"
        case .requestMalformed: "cf633e573ca74df7ae8f7d33ab4cfb64"
        case .peerNameMissing: "d7c13762b4d949e3a29230ffc1f25eb2"
        case .prioritiesUnusable: "687aac3b9ceb4dc08e00d2b02ee1d0d9"
        case .limitsUnusable: "e1d41211fd6a4525ad1a8b27c63b8430"
        case .socketUnsupported: "4004706c8a854b22957d2276a98065de"
        case .kernelTLSUnavailable: "296c5f8218cf406e99b0131f18981e64"
        case .kernelTLSCipherUnsupported: "3318a0fc62904bc4ba45596e0ded99b2"
        case .kernelTLSFailed: "8008a4cb826642ac8842bf6bd3aca50f"
        case .recordSizeLimitUnsupported: "9fa5c501b9d2468ebc1c6175d736211c"
        case .keyUpdatesOff: "c40fdd710b2746b2967dd2f368fd7db0"
        case .sessionUnknown: "3d5d476c59564136a1e156afdf711c00"
        case .sessionElsewhere: "05561275d9a2475dbecd8824f83778b5"
        case .workerLost: "b38d04e39c424466aad9993146a4a6cc"
        case .noWorkerReady: "3e3b259743cb460280e17112bb8b3387"
        case .signerUnavailable: "48837c00a56d4c758a1a4a4b18db147e"
        case .overloaded: "c90d4beb01e74163a2c1bcf5496c7456"
        case .peerPenalised: "a81de6c766f243dc9de2c9877a4675c3"
        case .shuttingDown: "a981c37f666e4a9bb0041ee43c14caf5"
        case .libraryFailure: "1050f86776234a15b2083fcdf22022eb"
        }
    }
}
