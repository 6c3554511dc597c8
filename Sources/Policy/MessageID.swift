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
