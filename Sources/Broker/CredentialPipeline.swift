internal import Control
internal import Handshake
internal import Policy
internal import Settings
internal import Unconfined
internal import Wire

/// The credentials of every role of every profile, from the files that the settings name to the workers:
///
///     files ──> signer, where there are keys ──> workers ──> in force, after the first worker's verdict
final class CredentialPipeline {
    private var states: [CredentialsOwner: RoleCredentialState] = [:]
    /// What the settings say for each of them.
    private var roleSettings: [CredentialsOwner: RoleSettings] = [:]
    private unowned let broker: Broker
    private var log: DaemonLog { broker.log }

    init(_ broker: Broker) { self.broker = broker }

    subscript(owner: CredentialsOwner) -> RoleCredentialState? {
        get { states[owner] }
        set { states[owner] = newValue }
    }

    /// What the settings say for a role; `nil` where its profile has gone.
    func settings(of owner: CredentialsOwner) -> RoleSettings? { roleSettings[owner] }

    var isEmpty: Bool { states.isEmpty }
    /// All, in a fixed order.
    var all: [RoleCredentialState] { states.sorted { $0.key < $1.key }.map(\.value) }
    /// Whether any key or certificate is on a token.
    var useTokens: Bool { states.values.contains(where: \.usesTokens) }
    /// Each role's credentials in force, then those that are to come.
    var currentSets: [CredentialSet] { all.flatMap(\.currentSets) }
    /// What a new signer is to open.
    var setsForSigner: [CredentialSet] { all.flatMap(\.setsForSigner) }
    /// Whether keys are still being opened that handshakes wait for.
    var awaitSigner: Bool { states.values.contains(where: \.awaitsSigner) }

    /// Sees to it that there is a state for every profile's roles, and that workers forget the profiles that are gone.
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

    /// Reads one role's credentials again if its files have changed.
    func refresh(_ owner: CredentialsOwner, force: Bool = false, patience: UInt64 = FilePatience.moment) {
        guard let settings = roleSettings[owner],
            let change = states[owner]?.refresh(settings: settings, force: force, patience: patience)
        else { return }
        for error in change.errors { log.error(error, .credentialsRefused) }
        for notice in change.notices { log.notice(notice) }
        broker.signer.release(change.replaced)
        if let set = change.send { broker.signer.present(set) }
    }

    /// The same for all.
    ///
    /// - Parameter patience: asked for each, for they share it.
    func refreshAll(force: Bool, patience: () -> UInt64) {
        for owner in states.keys.sorted() { refresh(owner, force: force, patience: patience()) }
    }

    /// The signer's verdict on the keys of a set: a set whose keys are open goes to the workers.
    func judge(_ verdict: SignerVerdict) {
        let outcome = states[verdict.owner]?.judge(verdict)
        if let line = outcome?.error { log.error(line, .credentialsRefused) }
        if let set = outcome?.send { broker.pool.distribute(set) }
        broker.handshakes.dispatchWaiting()
    }

    /// A worker's verdict on a set: the first one counts.
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

    /// A signer hung while it opened these keys: no other is given them before they are tried again.
    func setAside(_ keys: SignerKeys) {
        if let line = states[keys.owner]?.setAside(keys) { log.error(line, .credentialsRefused) }
    }

    /// When a missing token is looked for again; `nil` where none is missing.
    var nextRetry: UInt64? { states.values.compactMap(\.nextRetry).min() }

    /// Looks again for the tokens whose time has come.
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

    /// What should be changed in the files.
    var warnings: [String] { all.flatMap(\.warnings) }
}
