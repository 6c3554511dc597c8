internal import Control
internal import Handshake
internal import Policy
internal import Settings
internal import System
internal import Unconfined
internal import Wire

/// The path of credentials, for every role of every profile, from the files in the settings to the workers:
///
///     files ──> a signer, where there are keys ──> workers ──> in force, while most workers accept them
///
/// Every worker gives its verdict. Keys are released when no worker can use them any more, never because of what one
/// worker says (`RoleCredentialState`).
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
    /// Credentials in force, followed by candidates, of each role.
    var currentSets: [CredentialSet] { all.flatMap(\.currentSets) }
    /// Sets that a new signer must open.
    func sets(for signer: SignerKind) -> [CredentialSet] {
        all.flatMap(\.setsForSigner).filter { $0.signer == signer }
    }
    /// True if handshakes wait for keys that are being opened.
    var awaitSigner: Bool { states.values.contains(where: \.awaitsSigner) }

    /// Creates the states of new profiles, and removes those of deleted profiles here and in the workers.
    func adopt(_ profiles: ProfileTable, gone: [ProfileNumber]) {
        for profile in gone {
            for role in Role.allCases {
                for set in states.removeValue(forKey: CredentialsOwner(profile, role))?.currentSets ?? [] {
                    release(set)
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
        for set in change.released { release(set) }
        for worker in change.distrusted { broker.pool.distrust(worker) }
        if let set = change.send { present(set) }
    }

    /// Has the keys of a set opened; a set without keys goes to the workers at once.
    private func present(_ set: CredentialSet) {
        guard set.keys != nil else { return broker.pool.distribute(set) }
        broker.signer(set.signer).present(set)
    }

    private func release(_ set: CredentialSet) {
        if let keys = set.keys { broker.signer(set.signer).release(keys) }
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

    /// Processes a worker's verdict on a set.
    func judge(_ verdict: CredentialsVerdict, from worker: WorkerID) {
        guard let change = states[verdict.owner]?.judge(verdict, from: worker) else { return }
        apply(change, to: verdict.owner)
        if let warning = states[verdict.owner]?.takeWarning() { log.warning(warning) }
        broker.handshakes.dispatchWaiting()
    }

    /// A set was sent to a worker, which may use it until it accepts a newer one.
    func noteSent(_ set: CredentialSet, to worker: WorkerID) {
        states[set.message.owner]?.noteSent(set, to: worker)
    }

    /// A worker has ended: its verdicts do not count any more, and it uses no keys.
    func forget(_ worker: WorkerID) {
        for owner in states.keys.sorted() {
            if let change = states[owner]?.forget(worker) { apply(change, to: owner) }
        }
    }

    private func apply(_ change: RoleCredentialState.Judgement, to owner: CredentialsOwner) {
        let event = states[owner]?.inForce == nil ? nil : LogEvent.credentialsInForce
        for line in change.lines {
            switch line.kind {
            case .error: log.error(line.text, .credentialsRefused)
            case .warning: log.warning(line.text, event)
            case .info: log.info(line.text, event)
            }
        }
        for set in change.released { release(set) }
        for worker in change.distrusted { broker.pool.distrust(worker) }
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
    /// A set of credentials that is used, or may be:
    ///
    ///     withSigner ──> withWorkers ──> accepted <──> refused
    ///
    /// A set without keys begins with the workers. It is accepted or refused as most workers say that have given a
    /// verdict; one that none of them can use any more is removed. `Entry.count` is the only function that decides.
    private struct Entry {
        enum Stage {
            /// The signer has been opening its keys since then; CLOCK_MONOTONIC nanoseconds.
            case withSigner(since: UInt64)
            /// No worker has given its verdict.
            case withWorkers
            case accepted
            case refused
        }

        let set: CredentialSet
        var stage: Stage
        /// Reasons of the workers that refused it; empty for those that accepted it.
        private(set) var verdicts: [WorkerID: String] = [:]
        /// The description of the first worker that accepted it.
        private(set) var account: (summary: String, facts: CredentialsFacts)?
        /// The newest revocation lists, as each worker that accepted it has told.
        private var floors: [WorkerID: [RevocationFloor]] = [:]
        /// The log says that workers contradict each other.
        var isDisputed = false

        init(_ set: CredentialSet, _ stage: Stage) {
            self.set = set
            self.stage = stage
        }

        var generation: UInt32 { self.set.message.generation }
        var isAccepted: Bool { if case .accepted = stage { true } else { false } }
        var isDecided: Bool {
            switch stage {
            case .withSigner, .withWorkers: false
            case .accepted, .refused: true
            }
        }

        var accepting: [WorkerID] { verdicts.filter(\.value.isEmpty).keys.sorted { $0.number < $1.number } }
        var refusing: [WorkerID] { verdicts.filter { !$0.value.isEmpty }.keys.sorted { $0.number < $1.number } }

        mutating func count(_ verdict: CredentialsVerdict, from worker: WorkerID) {
            verdicts[worker] = verdict.problem
            floors[worker] = verdict.problem.isEmpty ? verdict.facts.floors : nil
            if verdict.problem.isEmpty, account == nil { account = (verdict.summary, verdict.facts) }
            count()
        }

        mutating func remove(_ worker: WorkerID) {
            floors[worker] = nil
            if verdicts.removeValue(forKey: worker) != nil { count() }
        }

        /// Without any verdict, because all workers have ended, the last decision holds.
        private mutating func count() {
            guard !verdicts.isEmpty else { return }
            stage = accepting.count >= refusing.count ? .accepted : .refused
        }

        /// The lowest floors that all workers which accepted it have told, so that none alone can raise one.
        var commonFloors: [RevocationFloor] {
            guard let first = floors.values.first else { return [] }
            return first.compactMap { floor in
                var lowest = floor
                for others in floors.values {
                    guard let other = others.first(where: { $0.issuer == floor.issuer }) else { return nil }
                    if other.isOlder(than: lowest) { lowest = other }
                }
                return lowest
            }
        }

        /// The workers whose verdict few others share; all if as many accept it as refuse it.
        var minority: [WorkerID] {
            if accepting.count == refusing.count { return accepting + refusing }
            return accepting.count < refusing.count ? accepting : refusing
        }
    }

    /// The sets that a worker may use, as far as it has said.
    private struct User {
        /// Older generations are not used any more.
        var oldest: UInt32
        var refused: Set<UInt32> = []

        mutating func note(_ verdict: CredentialsVerdict) {
            if verdict.problem.isEmpty {
                oldest = max(oldest, verdict.generation)
            } else {
                refused.insert(verdict.generation)
            }
        }

        func mayUse(_ generation: UInt32) -> Bool { generation >= oldest && !refused.contains(generation) }
    }

    let owner: CredentialsOwner
    /// Such as `client credentials` or `profile blue, client credentials`.
    private let label: String
    /// Source of the last read; `nil` before the first.
    private var source: CredentialSource?
    private var seen: [String: FileIdentity] = [:]
    var files: FileWatch<RoleSettings, Reading?>
    private var lastGeneration: UInt32 = 0
    /// Oldest first. The verdict of workers may arrive after newer files were read.
    private var entries: [Entry] = []
    /// Workers that have such credentials.
    private var users: [WorkerID: User] = [:]
    /// Workers that have such credentials.
    var workers: Set<WorkerID> { Set(users.keys) }
    /// Limit of sets, because each holds descriptors.
    private static let most = 6
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

    /// The newest set that is accepted.
    private var current: Entry? { entries.last(where: \.isAccepted) }
    var inForce: CredentialSet? { current?.set }

    /// The set of the newest files, until it is judged.
    var candidate: CredentialSet? {
        entries.last.flatMap { $0.generation == lastGeneration && !$0.isDecided ? $0.set : nil }
    }

    /// Result of `refresh`.
    struct Change {
        /// The set to send to the signer, then to every worker.
        var send: CredentialSet?
        /// Sets whose keys are not needed any more.
        var released: [CredentialSet] = []
        /// Workers that hold on to sets for too long.
        var distrusted: [WorkerID] = []
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
        if let last = entries.last, case .withSigner = last.stage { change.released.append(entries.removeLast().set) }
        while entries.count >= Self.most,
            let place = entries.firstIndex(where: { $0.generation != current?.generation })
        {
            // Workers that do not answer, or that go on with old ones, are replaced.
            let old = entries.remove(at: place)
            change.released.append(old.set)
            change.distrusted += users.filter { $0.value.mayUse(old.generation) }.keys.sorted { $0.number < $1.number }
        }
        retry.due = nil
        lastGeneration += 1
        switch reading.copies {
        case .success(let copies):
            let set = reading.source.set(of: copies, generation: lastGeneration, floors: floors)
            entries.append(Entry(set, set.isComplete ? .withWorkers : .withSigner(since: files.threads.clock())))
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
            summary: isUnused ? Self.nothing : current?.account?.summary ?? "", problem: isUnused ? "" : problem)
        guard let message = inForce?.message, let facts = current?.account?.facts else { return report }
        func path(_ kind: CredentialKind, _ pair: UInt8) -> String {
            message.files.first { $0.kind == kind && $0.pair == pair }?.path ?? ""
        }
        report.certificates = facts.certificates.map { certificate in
            ServiceReport.Certificate(
                file: path(certificate.kind, certificate.pair), subject: certificate.description.subject,
                issuer: certificate.description.issuer, notBefore: Int(certificate.description.notBefore),
                notAfter: Int(certificate.description.notAfter))
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
        let texts = [current?.account?.facts.warning, publicTrust].compactMap(\.self).filter { !$0.isEmpty }
        return complaintsAboutModes.map(\.text) + texts.map { "\(label): \($0)" }
    }

    private var publicTrust: String? {
        guard let facts = current?.account?.facts else { return nil }
        return source?.publicTrust(authorities: Int(facts.authorities)).map { "\($0.text); remedy: \($0.remedy)" }
    }

    /// Warning about the credentials that have just come into force; `nil` if there is none or it was logged before.
    mutating func takeWarning() -> String? {
        let text = publicTrust
        defer { toldTrust = text }
        return text == toldTrust ? nil : text.map { "\(label): \($0)" }
    }

    /// Result of a verdict, or of the end of a worker.
    struct Judgement {
        enum Kind { case info, warning, error }
        var lines: [(text: String, kind: Kind)] = []
        /// Sets whose keys no worker can use any more.
        var released: [CredentialSet] = []
        /// Workers to be replaced: their verdict contradicts others.
        var distrusted: [WorkerID] = []
    }

    /// A set was sent to a worker.
    mutating func noteSent(_ set: CredentialSet, to worker: WorkerID) {
        if users[worker] == nil { users[worker] = User(oldest: set.message.generation) }
    }

    /// Counts a worker's verdict on a set that it was sent. All workers decide alike, unless one has fallen.
    mutating func judge(_ verdict: CredentialsVerdict, from worker: WorkerID) -> Judgement {
        let generation = verdict.generation
        var judgement = Judgement()
        guard users[worker] != nil else { return judgement }
        users[worker]?.note(verdict)
        if let place = place(of: generation) {
            let before = entries[place].stage
            entries[place].count(verdict, from: worker)
            settle(place, from: before, verdict, &judgement)
        }
        judgement.released = releaseUnused()
        return judgement
    }

    /// A worker has ended.
    mutating func forget(_ worker: WorkerID) -> Judgement {
        guard users.removeValue(forKey: worker) != nil else { return Judgement() }
        var judgement = Judgement()
        for place in entries.indices {
            let before = entries[place].stage
            entries[place].remove(worker)
            settle(place, from: before, nil, &judgement)
        }
        judgement.released = releaseUnused()
        return judgement
    }

    /// Draws the consequences of a count of the verdicts on a set.
    private mutating func settle(
        _ place: Int, from before: Entry.Stage, _ verdict: CredentialsVerdict?, _ judgement: inout Judgement
    ) {
        let entry = entries[place], isNewest = entry.generation == lastGeneration
        switch (before, entry.stage) {
        case (.withWorkers, .accepted):
            // The error of newer files remains.
            if isNewest { refusal = "" }
            let summary = entry.account?.summary ?? ""
            judgement.lines.append(("\(label): \(summary)", verdict?.isWarning == true ? .warning : .info))
        case (.withWorkers, .refused) where isNewest:
            refusal = verdict?.problem ?? ""
            judgement.lines.append(
                isUnused
                    ? ("\(label): \(Self.nothing)", .info) : ("\(label): \(refusal); \(consequence)", .error))
        case (.refused, .accepted) where isNewest: refusal = ""
        case (.accepted, .refused) where isNewest:
            refusal = entry.verdicts.values.filter { !$0.isEmpty }.min() ?? ""
        case (.withSigner, _), (.withWorkers, _), (.accepted, _), (.refused, _): break
        }
        let isComplete = users.allSatisfy { worker, user in
            entry.verdicts[worker] != nil || user.oldest > entry.generation
        }
        if isComplete, entry.isAccepted {
            for floor in entry.commonFloors { floor.raise(&floors) }
        }
        guard !entry.accepting.isEmpty, !entry.refusing.isEmpty else { return }
        if !entry.isDisputed {
            entries[place].isDisputed = true
            let reason = entry.verdicts.values.filter { !$0.isEmpty }.min() ?? ""
            judgement.lines.append(
                (
                    "\(label): workers contradict each other: \(entry.accepting.count) accept and \(entry.refusing.count) "
                        + "refuse the newest (\(reason)); both generations are kept, and the workers in the minority, or all "
                        + "in a tie, are replaced", .error
                ))
        }
        if isComplete { judgement.distrusted = entry.minority }
    }

    private func place(of generation: UInt32) -> Int? { entries.firstIndex { $0.generation == generation } }

    /// Removes the sets that are not in force, are not about to be, and that no worker can use.
    private mutating func releaseUnused() -> [CredentialSet] {
        let inForce = current?.generation
        func isNeeded(_ entry: Entry) -> Bool {
            entry.generation == inForce || (!entry.isDecided && entry.generation > inForce ?? 0)
                || users.values.contains { $0.mayUse(entry.generation) }
        }
        let unused = entries.filter { !isNeeded($0) }.map(\.set)
        entries.removeAll { !isNeeded($0) }
        return unused
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
        if let place = place(of: verdict.generation), case .withSigner = entries[place].stage {
            let set = entries[place].set
            do {
                if problem.isEmpty { try set.complete(with: verdict.parts) }
            } catch {
                problem = error.description
            }
            if problem.isEmpty {
                entries[place].stage = .withWorkers
                retry = (nil, Self.firstRetry)
                lastComplaint = ""
                return (set, nil)
            }
            entries.remove(at: place)
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

    /// Sets keys aside because a signer hung while it opened them. Its keys of other roles are opened before they are
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

    /// All sets that workers use or may come to use, oldest first: those of a new worker, and those whose keys a new
    /// signer must open.
    var currentSets: [CredentialSet] { entries.map(\.set) }

    /// Sets that a new signer must open.
    var setsForSigner: [CredentialSet] {
        currentSets.filter { $0.message.generation != setAsideGeneration }
    }

    /// True if handshakes must wait for the signer. The wait is bounded, because the set in force may be outdated but
    /// can be used.
    var awaitsSigner: Bool {
        guard case .withSigner(let since)? = entries.last?.stage else { return false }
        let patience = inForce == nil ? Self.firstPatience : Self.signerPatience
        return files.threads.clock() - since < patience
    }

    /// Time of the next attempt to open a missing token; `nil` if none is missing.
    var nextRetry: UInt64? { candidate == nil ? retry.due : nil }

    /// The set of a generation; `nil` if it was removed.
    func set(_ generation: UInt32) -> CredentialSet? { currentSets.first { $0.message.generation == generation } }

    /// Signers with keys that workers may use for this role: normally one. A worker may still have a set that is no
    /// longer in force, or have one that is not yet.
    var signers: [SignerKind] {
        let sets = currentSets.filter { $0.keys != nil && $0.isComplete }
        return SignerKind.allCases.filter { kind in sets.contains { $0.signer == kind } }
    }

    private static let firstRetry: UInt64 = 2_500_000_000
    private static let lastRetry: UInt64 = 60_000_000_000
    /// Long, because each attempt may block the keys of the same signer's other roles for 20 s.
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
