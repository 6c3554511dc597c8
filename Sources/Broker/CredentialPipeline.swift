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

/// The credentials of one role of one profile over time: those in force, those that await verdicts, and the identities
/// of the files when they were last read. Accesses files only in `refresh` and sends nothing.
struct RoleCredentialState {
    /// A set that awaits a verdict:
    ///
    ///     withSigner ──> withWorkers ──> in force
    ///          └──────────────┴────────> refused, or replaced by newer files
    ///
    /// A set without keys begins with the workers. `move` is the only function that ends a stage.
    private enum Stage {
        /// The signer has been opening its keys since then; CLOCK_MONOTONIC nanoseconds.
        case withSigner(since: UInt64)
        case withWorkers
    }

    let owner: CredentialsOwner
    /// Such as `client credentials` or `profile blue, client credentials`.
    private let label: String
    /// Source of the last read; `nil` before the first.
    private var source: CredentialSource?
    private var seen: [String: FileIdentity] = [:]
    var files: FileWatch<RoleSettings, Reading?>
    private var lastGeneration: UInt32 = 0
    /// The set in force, and what workers said of it.
    private var current: (set: CredentialSet, summary: String, facts: CredentialsFacts)?
    /// Sets that await a verdict, oldest first. That of workers may arrive after newer files were read; workers then
    /// have the set in force.
    private var unjudged: [(set: CredentialSet, stage: Stage)] = []
    /// Limit of those that wait while newer files are read, because each holds descriptors.
    private static let mostOvertaken = 4
    /// Time of the next attempt to open a missing token, and the last delay before one.
    private var retry: (due: UInt64?, pause: UInt64) = (nil, firstRetry)
    /// The generation whose keys a signer hung with.
    private var setAsideGeneration: UInt32?
    /// The last logged error, so that a missing token is not logged again.
    private var lastComplaint = ""
    /// Reason why the role cannot be served or the newest files are not in force; empty if there is none.
    var problem: String { files.problem.isEmpty ? refusal : files.problem }
    /// The same for files that answer.
    private var refusal = ""
    /// The last logged warning of `publicTrust`.
    private var toldTrust: String?
    /// The newest revocation lists that were ever in force.
    private var floors: [RevocationFloor] = []
    /// Files whose mode was logged, so that it is logged once per change.
    private var modeNotices: [String: FileIdentity] = [:]

    /// - Parameter profile: name of the profile; `nil` for the default.
    init(_ owner: CredentialsOwner, profile: String? = nil, threads: FileThreads = FileThreads()) {
        files = FileWatch(threads)
        self.owner = owner
        label = (profile.map { "profile \($0), " } ?? "") + "\(owner.role) credentials"
    }

    var inForce: CredentialSet? { current?.set }

    /// The set of the newest files, until it is judged.
    var candidate: CredentialSet? {
        unjudged.last.flatMap { $0.set.message.generation == lastGeneration ? $0.set : nil }
    }

    /// Result of `refresh`.
    struct Change {
        /// The set to send to the signer, then to every worker.
        var send: CredentialSet?
        /// A candidate that is dropped.
        var replaced: CredentialSet?
        var errors: [String] = []
        var notices: [String] = []
    }

    /// Contents of changed files.
    struct Reading: Sendable {
        fileprivate let source: CredentialSource
        fileprivate var seen: [String: FileIdentity]
        fileprivate var copies: Result<CredentialSource.Copies, SystemError>

        /// Reads all files, and again if some were replaced meanwhile, so that a renewed certificate and its key are
        /// read together. Gives up after four attempts; the worker checks that key and certificate match.
        init(_ source: CredentialSource, _ seen: [String: FileIdentity], _ progress: FileProgress) {
            func read() -> Result<CredentialSource.Copies, SystemError> {
                Result { () throws(SystemError) in try source.copies(progress) }
            }
            self.source = source
            self.seen = seen
            copies = read()
            for _ in 0..<3 {
                let now = source.identities(progress)
                guard case .success = copies, now != self.seen else { return }
                self.seen = now
                copies = read()
            }
        }
    }

    /// Reads the files if they or the settings have changed, or if `force`. If files do not answer, nothing changes.
    mutating func refresh(
        settings: RoleSettings, force: Bool = false, patience: UInt64 = FilePatience.moment
    ) -> Change {
        var change = Change()
        let owner = owner, source = source, seen = seen
        let answer = files.look(at: settings, force: force, patience: patience) { force, progress -> Reading? in
            let wanted = CredentialSource(owner: owner, settings: settings)
            let identities = wanted.identities(progress)
            guard force || wanted != source || identities != seen else { return nil }
            return Reading(wanted, identities, progress)
        }
        if let news = files.takeNews(consequence) {
            let line = "\(label): \(news.text)"
            if news.isError { change.errors.append(line) } else { change.notices.append(line) }
        }
        if let reading = answer.flatMap({ $0 }) { adopt(reading, &change) }
        return change
    }

    private mutating func adopt(_ reading: Reading, _ change: inout Change) {
        source = reading.source
        seen = reading.seen
        change.notices += complaintsAboutModes.filter { path, identity, _ in
            modeNotices.updateValue(identity, forKey: path) != identity
        }.map(\.text)
        if case .withSigner? = unjudged.last?.stage {
            change.replaced = move(unjudged.count - 1).last
        } else if unjudged.count > Self.mostOvertaken {
            // Limits them if no worker sends verdicts, for example because none can start.
            change.replaced = move(0).last
        }
        retry.due = nil
        lastGeneration += 1
        switch reading.copies {
        case .success(let copies):
            let set = reading.source.set(of: copies, generation: lastGeneration, floors: floors)
            unjudged.append((set, set.isComplete ? .withWorkers : .withSigner(since: files.threads.clock())))
            change.send = set
        case .failure(let error):
            refusal = "\(error.description)\(Self.hint(for: error, in: reading.source))\(Self.remedy(for: error))"
            change.errors.append("\(label): \(refusal); \(consequence)")
        }
    }

    /// True if handshakes must wait because the files are being read for the first time.
    var awaitsFiles: Bool {
        guard inForce == nil, candidate == nil, let age = files.age(files.threads.clock()) else { return false }
        return age < FilePatience.complaint
    }

    /// The role's state for `tlshctl status`.
    func report(profile: String) -> ServiceReport.Credentials {
        var report = ServiceReport.Credentials(
            profile: profile, role: "\(owner.role)", inForce: inForce != nil,
            summary: isUnused ? Self.nothing : current?.summary ?? "", problem: isUnused ? "" : problem)
        guard let (set, _, facts) = current else { return report }
        let message = set.message
        func path(_ kind: CredentialKind, _ pair: UInt8) -> String {
            message.files.first { $0.kind == kind && $0.pair == pair }?.path ?? ""
        }
        report.certificates = facts.certificates.map { certificate in
            ServiceReport.Certificate(
                file: path(certificate.kind, certificate.pair), subject: certificate.description.subject,
                issuer: certificate.description.issuer, notAfter: Int(certificate.description.notAfter))
        }
        report.authorities = Int(facts.authorities)
        report.pins = message.rules.pins.count
        if facts.revocationLists > 0 {
            report.revocation = ServiceReport.Revocation(
                file: path(.revocationList, 0), lists: Int(facts.revocationLists),
                nextUpdate: facts.nextUpdate.map { Int($0) })
        }
        return report
    }

    /// Remarks on a role that is served nevertheless; each names its subject.
    var warnings: [String] {
        let texts = [current?.facts.warning, publicTrust].compactMap(\.self).filter { !$0.isEmpty }
        return complaintsAboutModes.map(\.text) + texts.map { "\(label): \($0)" }
    }

    private var publicTrust: String? {
        guard let facts = current?.facts else { return nil }
        return source?.publicTrust(authorities: Int(facts.authorities)).map { "\($0.text); remedy: \($0.remedy)" }
    }

    /// Warning about the credentials that have just come into force; `nil` if there is none or it was logged before.
    mutating func takeWarning() -> String? {
        let text = publicTrust
        defer { toldTrust = text }
        return text == toldTrust ? nil : text.map { "\(label): \($0)" }
    }

    /// Processes a worker's verdict on a generation. Only the first one counts, because all workers decide alike.
    ///
    /// - Returns: The log line, whether it is an error, and sets whose keys are no longer needed; `nil` for a repeated
    ///   verdict.
    mutating func judge(
        _ verdict: CredentialsVerdict
    ) -> (text: String, isError: Bool, replaced: [CredentialSet])? {
        let isNewest = verdict.generation == lastGeneration
        // An older one that is refused is dropped with the verdict on a later one.
        guard verdict.problem.isEmpty || isNewest, let place = place(of: verdict.generation),
            case .withWorkers = unjudged[place].stage
        else { return nil }
        let judged = move(place)
        if verdict.problem.isEmpty {
            let replaced = [inForce].compactMap(\.self) + judged.dropLast()
            current = (judged[place], verdict.summary, verdict.facts)
            for floor in verdict.facts.floors { floor.raise(&floors) }
            // The error of newer files remains.
            if isNewest { refusal = "" }
            return ("\(label): \(verdict.summary)", false, replaced)
        }
        refusal = verdict.problem
        guard !isUnused else { return ("\(label): \(Self.nothing)", false, judged) }
        return ("\(label): \(refusal); \(consequence)", true, judged)
    }

    private func place(of generation: UInt32) -> Int? {
        unjudged.firstIndex { $0.set.message.generation == generation }
    }

    /// Moves a set to its next stage, or removes it. Older ones that wait for the same verdict are removed with it.
    ///
    /// - Returns: The set, preceded by those.
    private mutating func move(_ place: Int, to next: Stage? = nil) -> [CredentialSet] {
        let first = if case .withSigner = unjudged[place].stage { place } else { 0 }
        let moved = unjudged[first...place].map(\.set)
        unjudged.replaceSubrange(first...place, with: next.map { [(moved[place - first], $0)] } ?? [])
        return moved
    }

    /// True if no server certificate is configured, which is normal on client-only hosts. Handshakes fail with that
    /// reason.
    private var isUnused: Bool { owner.role == .server && inForce == nil && source?.presentsCertificate == false }
    private static let nothing = "none, as no certificate is set; nothing is served with certificates"

    /// Processes the signer's verdict on the keys of a generation.
    ///
    /// - Returns: The set to send to every worker, and an error line; `nil` if the verdict changes nothing.
    mutating func judge(_ verdict: SignerVerdict) -> (send: CredentialSet?, error: String?)? {
        var problem = verdict.problem
        var consequence = "its handshakes fail until that is fixed"
        if let place = place(of: verdict.generation), case .withSigner = unjudged[place].stage {
            let set = unjudged[place].set
            do {
                if problem.isEmpty { try set.complete(with: verdict.parts) }
            } catch {
                problem = error.description
            }
            _ = move(place, to: problem.isEmpty ? .withWorkers : nil)
            if problem.isEmpty {
                retry = (nil, Self.firstRetry)
                lastComplaint = ""
                return (set, nil)
            }
            consequence = self.consequence
        } else if problem.isEmpty || inForce?.message.generation != verdict.generation {
            return nil
        }
        refusal = problem
        if verdict.isPassing {
            let pause = min(retry.pause * 2, Self.lastRetry)
            retry = (files.threads.clock() + pause, pause)
        }
        defer { lastComplaint = problem }
        return (nil, problem == lastComplaint ? nil : "\(label): \(problem); \(consequence)")
    }

    /// Sets keys aside because a signer hung while it opened them. The keys of other roles are opened before they are
    /// tried again.
    ///
    /// - Returns: An error line; `nil` if there is nothing new to log.
    mutating func setAside(_ generation: UInt32) -> String? {
        setAsideGeneration = generation
        let places = set(generation)?.keys?.parts.map(\.place).joined(separator: ", ") ?? ""
        let verdict = SignerVerdict(
            owner: owner, generation: generation,
            problem: "opening \(places) does not end; remedy: check the token; the next attempt is in 5 minutes",
            isPassing: true)
        let outcome = judge(verdict)
        retry = (files.threads.clock() + Self.retryAfterHang, Self.lastRetry)
        return outcome?.error
    }

    /// The set in force, followed by the candidate.
    var currentSets: [CredentialSet] { [inForce, candidate].compactMap(\.self) }

    /// Sets that a new signer must open.
    var setsForSigner: [CredentialSet] {
        currentSets.filter { $0.message.generation != setAsideGeneration }
    }

    /// True if handshakes must wait for the signer. The wait is bounded, because the set in force may be outdated but
    /// can be used.
    var awaitsSigner: Bool {
        guard case .withSigner(let since)? = unjudged.last?.stage else { return false }
        let patience = inForce == nil ? Self.firstPatience : Self.signerPatience
        return files.threads.clock() - since < patience
    }

    /// Time of the next attempt to open a missing token; `nil` if none is missing.
    var nextRetry: UInt64? { candidate == nil ? retry.due : nil }

    /// All sets whose keys the signer may have.
    var sets: [CredentialSet] { [inForce].compactMap(\.self) + unjudged.map(\.set) }

    /// The set of a generation; `nil` if it was removed.
    func set(_ generation: UInt32) -> CredentialSet? { sets.first { $0.message.generation == generation } }

    /// True if a key or certificate is on a token.
    var usesTokens: Bool { source?.usesTokens == true || inForce?.usesTokens == true }

    private static let firstRetry: UInt64 = 2_500_000_000
    private static let lastRetry: UInt64 = 60_000_000_000
    /// Long, because each attempt may block the keys of all other roles for 20 s.
    private static let retryAfterHang: UInt64 = 300_000_000_000
    private static let firstPatience: UInt64 = 20_000_000_000
    private static let signerPatience: UInt64 = 2_000_000_000

    private var consequence: String {
        inForce == nil ? "this role is not served until that is fixed" : "the former ones stay in force"
    }

    /// Explains consequences that differ from ktls-utils: a missing trust store or revocation list never disables the
    /// check.
    private static func hint(for error: SystemError, in source: CredentialSource) -> String {
        guard let file = source.files.first(where: { error.context.hasPrefix($0.path) }) else { return "" }
        return switch file.kind {
        case .trustStore where source.usesSystemTrust:
            "; it is the system's trust store: install ca-certificates, or set x509.truststore"
        case .trustStore: "; the system's trust store is not used in its place"
        case .revocationList: "; certificates are not accepted without the revocation list"
        case .certificate, .privateKey, .postQuantumCertificate, .postQuantumPrivateKey: ""
        }
    }

    /// Remedy for a file that cannot be opened.
    private static func remedy(for error: SystemError) -> String {
        if error.isDenied {
            return "; remedy: give it to root, or see the drop-in file foreign-files.conf"
        }
        return error.number == .enoent ? "; remedy: put it there, or correct the settings" : ""
    }

    /// Files that others can write, and secrets that others can read.
    private var complaintsAboutModes: [(path: String, identity: FileIdentity, text: String)] {
        seen.sorted { $0.key < $1.key }.compactMap { path, identity in
            let isKey = source?.isSecret(path) == true
            guard identity.mode & (isKey ? 0o027 : 0o022) != 0 else { return nil }
            let remedy = isKey ? "chmod 600" : "chmod go-w"
            let danger = isKey ? "can be read or written by others" : "can be written by others"
            return (path, identity, "\(path) \(danger); remedy: \(remedy) \(path)")
        }
    }
}
