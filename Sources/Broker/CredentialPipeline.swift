internal import Control
internal import Handshake
internal import Policy
internal import Settings
internal import System
internal import Unconfined
internal import Wire

/// The path of credentials, for every role of every profile, from the files in the settings to the workers:
///
///     files ──> signer, where there are keys ──> workers ──> in force, after the first worker's verdict
final class CredentialPipeline {
    private var states: [CredentialsOwner: RoleCredentialState] = [:]
    /// Settings of each role.
    private var roleSettings: [CredentialsOwner: RoleSettings] = [:]
    private unowned let broker: Broker
    private var log: DaemonLog { broker.log }

    init(_ broker: Broker) { self.broker = broker }

    subscript(owner: CredentialsOwner) -> RoleCredentialState? {
        get { states[owner] }
        set { states[owner] = newValue }
    }

    /// Settings of a role; `nil` if its profile was removed.
    func settings(of owner: CredentialsOwner) -> RoleSettings? { roleSettings[owner] }

    var isEmpty: Bool { states.isEmpty }
    /// All states in a fixed order.
    var all: [RoleCredentialState] { states.sorted { $0.key < $1.key }.map(\.value) }
    /// True if a key or certificate is on a token.
    var useTokens: Bool { states.values.contains(where: \.usesTokens) }
    /// Credentials in force, followed by candidates, of each role.
    var currentSets: [CredentialSet] { all.flatMap(\.currentSets) }
    /// Sets that a new signer must open.
    var setsForSigner: [CredentialSet] { all.flatMap(\.setsForSigner) }
    /// True if handshakes wait for keys that are being opened.
    var awaitSigner: Bool { states.values.contains(where: \.awaitsSigner) }

    /// Creates the states of new profiles, and removes those of deleted profiles here and in the workers.
    func adopt(_ profiles: ProfileTable, gone: [ProfileNumber]) {
        for profile in gone {
            for role in Role.allCases {
                for set in states.removeValue(forKey: CredentialsOwner(profile, role))?.sets ?? [] {
                    broker.signer.release(set)
                }
            }
            broker.pool.sendAll(.withdraw(profile: profile))
        }
        roleSettings = [:]
        for entry in profiles.entries {
            for (role, settings) in entry.credentials {
                let owner = CredentialsOwner(entry.number, role)
                roleSettings[owner] = settings
                if states[owner] == nil {
                    states[owner] = RoleCredentialState(
                        owner, profile: entry.name, threads: broker.surroundings.files)
                }
            }
        }
    }

    /// Reads the credentials of a role if its files have changed.
    func refresh(_ owner: CredentialsOwner, force: Bool = false, patience: UInt64 = FilePatience.moment) {
        guard let settings = roleSettings[owner],
            let change = states[owner]?.refresh(settings: settings, force: force, patience: patience)
        else { return }
        for error in change.errors { log.error(error, .credentialsRefused) }
        for notice in change.notices { log.notice(notice) }
        broker.signer.release(change.replaced)
        if let set = change.send { broker.signer.present(set) }
    }

    /// Reads the credentials of all roles whose files have changed.
    ///
    /// - Parameter patience: the remaining time, which all roles share.
    func refreshAll(force: Bool, patience: () -> UInt64) {
        for owner in states.keys.sorted() { refresh(owner, force: force, patience: patience()) }
    }

    /// Processes the signer's verdict on a set. If its keys are open, the set is sent to the workers.
    func judge(_ verdict: SignerVerdict) throws(ChannelFault) {
        let parts = verdict.problem.isEmpty ? states[verdict.owner]?.set(verdict.generation)?.keys?.parts.count : 0
        if let parts, verdict.parts.count != parts { throw .brokeProtocol("loaded has \(verdict.parts.count) parts") }
        let outcome = states[verdict.owner]?.judge(verdict)
        if let line = outcome?.error { log.error(line, .credentialsRefused) }
        if let set = outcome?.send { broker.pool.distribute(set) }
        broker.handshakes.dispatchWaiting()
    }

    /// Processes a worker's verdict on a set. Only the first one counts.
    func judge(_ verdict: CredentialsVerdict) {
        guard let line = states[verdict.owner]?.judge(verdict) else { return }
        let event = states[verdict.owner]?.inForce == nil ? nil : LogEvent.credentialsInForce
        if line.isError {
            log.error(line.text, .credentialsRefused)
        } else if verdict.isWarning {
            log.warning(line.text, event)
        } else {
            log.info(line.text, event)
        }
        if let warning = states[verdict.owner]?.takeWarning() { log.warning(warning) }
        for set in line.replaced { broker.signer.release(set) }
        broker.handshakes.dispatchWaiting()
    }

    /// Sets keys aside because a signer hung while it opened them. The keys of other roles are opened first.
    func setAside(_ generation: UInt32, of owner: CredentialsOwner) {
        if let line = states[owner]?.setAside(generation) { log.error(line, .credentialsRefused) }
    }

    /// Time of the next attempt to open a missing token; `nil` if none is missing.
    var nextRetry: UInt64? { states.values.compactMap(\.nextRetry).min() }

    /// Retries missing tokens that are due.
    func retry(_ now: UInt64) {
        for owner in states.keys.filter({ (states[$0]?.nextRetry ?? .max) <= now }).sorted() {
            refresh(owner, force: true)
        }
    }

    // MARK: For reports

    func report(_ profiles: ProfileTable) -> [ServiceReport.Credentials] {
        profiles.entries.flatMap { entry in
            Role.allCases.compactMap { role in
                states[CredentialsOwner(entry.number, role)]?.report(profile: entry.name ?? "")
            }
        }
    }

    /// Remarks on files that should be changed.
    var warnings: [String] { all.flatMap(\.warnings) }
}
