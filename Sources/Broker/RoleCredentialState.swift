internal import Control
internal import Handshake
internal import Settings
internal import System
internal import Unconfined
internal import Wire

/// The credentials of one role of one profile over time: those in force, the candidate that awaits verdicts, and the
/// identities of the files when they were last read. Accesses files only in `refresh` and sends nothing.
struct RoleCredentialState {
    let owner: CredentialsOwner
    /// Such as `client` or `profile blue, client`.
    private let label: String
    /// Source of the last read; `nil` before the first.
    private var source: CredentialSource?
    private var seen: [String: FileIdentity]?
    var files: FileWatch<RoleSettings, Reading?>
    private var lastGeneration: UInt32 = 0
    private(set) var inForce: CredentialSet?
    private(set) var candidate: CredentialSet?
    /// Earlier candidates that workers have got and not judged. The first verdict on each may arrive after a newer
    /// candidate exists, and workers then have it in force.
    private var overtaken: [CredentialSet] = []
    /// Limited, because each holds descriptors.
    private static let mostOvertaken = 4
    /// Time since which the candidate waits for the signer; CLOCK_MONOTONIC nanoseconds.
    private var askedSigner: UInt64?
    /// Time of the next attempt to open a missing token, and the delay before it.
    private var retry: (due: UInt64, pause: UInt64)?
    /// The generation whose keys a signer hung with.
    private var setAsideGeneration: UInt32?
    /// The last logged error, so that a missing token is not logged again.
    private var lastComplaint = ""
    /// Reason why the role cannot be served or the newest files are not in force; empty if there is none.
    var problem: String { files.problem.isEmpty ? refusal : files.problem }
    /// The same for files that answer.
    private var refusal = ""
    /// The workers' summary of the credentials in force.
    private(set) var summary = ""
    /// The workers' facts about the credentials in force, for monitoring.
    private(set) var facts = CredentialsFacts()
    private var toldTrust = ""
    /// The newest revocation lists that were ever in force.
    private var floors: [RevocationFloor] = []
    /// Files whose mode was logged, so that it is logged once per change.
    private var modeNotices: [String: FileIdentity] = [:]

    /// - Parameter profile: name of the profile; `nil` for the default.
    init(_ owner: CredentialsOwner, profile: String? = nil, threads: FileThreads = FileThreads()) {
        files = FileWatch(threads)
        self.owner = owner
        label = (profile.map { "profile \($0), " } ?? "") + "\(owner.role)"
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
            let line = "\(label) credentials: \(news.text)"
            if news.isError { change.errors.append(line) } else { change.notices.append(line) }
        }
        if let reading = answer.flatMap({ $0 }) { adopt(reading, &change) }
        return change
    }

    private mutating func adopt(_ reading: Reading, _ change: inout Change) {
        source = reading.source
        seen = reading.seen
        change.notices += noticesAboutModes(reading.seen)
        if let candidate {
            if candidate.isComplete { overtaken.append(candidate) } else { change.replaced = candidate }
            // Limits them if no worker sends verdicts, for example because none can start.
            if overtaken.count > Self.mostOvertaken { change.replaced = overtaken.removeFirst() }
        }
        askedSigner = nil
        retry?.due = .max
        lastGeneration += 1
        switch reading.copies {
        case .success(let copies):
            let set = reading.source.set(of: copies, generation: lastGeneration, floors: floors)
            candidate = set
            change.send = set
            askedSigner = set.isComplete ? nil : files.threads.clock()
        case .failure(let error):
            candidate = nil
            refusal = "\(error.description)\(Self.hint(for: error, in: reading.source))\(Self.remedy(for: error))"
            change.errors.append("\(label) credentials: \(refusal); \(consequence)")
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
            profile: profile, role: "\(owner.role)", inForce: inForce != nil, summary: summary,
            problem: isUnused ? "" : problem)
        if isUnused { report.summary = Self.nothing }
        guard let message = inForce?.message else { return report }
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
        let texts = [facts.warning].filter { !$0.isEmpty } + [publicTrust].compactMap(\.self)
        return complaintsAboutModes(seen ?? [:]).map(\.text) + texts.map { "\(label) credentials: \($0)" }
    }

    private var publicTrust: String? {
        guard inForce != nil else { return nil }
        return source?.publicTrust(authorities: Int(facts.authorities)).map { "\($0.text); remedy: \($0.remedy)" }
    }

    /// Warning about the credentials that have just come into force; `nil` if there is none or it was logged before.
    mutating func takeWarning() -> String? {
        guard let text = publicTrust else {
            toldTrust = ""
            return nil
        }
        defer { toldTrust = text }
        return text == toldTrust ? nil : "\(label) credentials: \(text)"
    }

    /// Processes a worker's verdict on a generation. Only the first one counts, because all workers decide alike.
    ///
    /// - Returns: The log line, whether it is an error, and sets whose keys are no longer needed; `nil` for a repeated
    ///   verdict.
    mutating func judge(
        _ verdict: CredentialsVerdict
    ) -> (text: String, isError: Bool, replaced: [CredentialSet])? {
        guard let (judged, older) = take(verdict) else { return nil }
        if verdict.problem.isEmpty {
            let former = inForce
            inForce = judged
            summary = verdict.summary
            facts = verdict.facts
            for floor in facts.floors { floor.raise(&floors) }
            // The error of newer files remains.
            if judged.message.generation == lastGeneration { refusal = "" }
            return ("\(label) credentials: \(verdict.summary)", false, older + [former].compactMap(\.self))
        }
        refusal = verdict.problem
        guard !isUnused else { return ("\(label) credentials: \(Self.nothing)", false, older + [judged]) }
        return ("\(label) credentials: \(refusal); \(consequence)", true, older + [judged])
    }

    /// Removes the set of a verdict, and those before it, from the candidates; `nil` if the verdict changes nothing.
    private mutating func take(_ verdict: CredentialsVerdict) -> (judged: CredentialSet, older: [CredentialSet])? {
        if let judged = candidate, judged.message.generation == verdict.generation {
            defer {
                candidate = nil
                overtaken = []
            }
            return (judged, overtaken)
        }
        // A refused one is dropped with the verdict on a later one.
        guard verdict.problem.isEmpty,
            let place = overtaken.firstIndex(where: { $0.message.generation == verdict.generation })
        else { return nil }
        defer { overtaken.removeFirst(place + 1) }
        return (overtaken[place], Array(overtaken[..<place]))
    }

    /// True if no server certificate is configured, which is normal on client-only hosts. Handshakes fail with that
    /// reason.
    private var isUnused: Bool { owner.role == .server && inForce == nil && source?.presentsCertificate == false }
    private static let nothing = "none, as no certificate is set; nothing is served with certificates"

    /// Processes the signer's verdict on the keys of a generation.
    ///
    /// - Returns: The set to send to every worker, and an error line; `nil` if the verdict changes nothing.
    mutating func judge(_ verdict: SignerVerdict) -> (send: CredentialSet?, error: String?)? {
        guard let judged = candidate, judged.message.generation == verdict.generation, !judged.isComplete else {
            // A new signer opens the keys in force again.
            guard !verdict.problem.isEmpty, inForce?.message.generation == verdict.generation else { return nil }
            refusal = verdict.problem
            if verdict.isPassing { retryLater() }
            return (nil, complaint(refusal, "its handshakes fail until that is fixed"))
        }
        askedSigner = nil
        var text = verdict.problem
        if text.isEmpty {
            do {
                try judged.complete(with: verdict.parts)
                retry = nil
                lastComplaint = ""
                return (judged, nil)
            } catch {
                text = error.description
            }
        }
        candidate = nil
        refusal = text
        if verdict.isPassing { retryLater() }
        return (nil, complaint(text, consequence))
    }

    /// Sets keys aside because a signer hung while it opened them. The keys of other roles are opened before they are
    /// tried again.
    ///
    /// - Returns: An error line; `nil` if there is nothing new to log.
    mutating func setAside(_ keys: SignerKeys) -> String? {
        setAsideGeneration = keys.generation
        let places = keys.parts.map(\.place).joined(separator: ", ")
        let verdict = SignerVerdict(
            owner: owner, generation: keys.generation,
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

    private mutating func retryLater() {
        let pause = min((retry?.pause ?? Self.firstRetry) * 2, Self.lastRetry)
        retry = (files.threads.clock() + pause, pause)
    }

    private mutating func complaint(_ text: String, _ consequence: String) -> String? {
        defer { lastComplaint = text }
        return text == lastComplaint ? nil : "\(label) credentials: \(text); \(consequence)"
    }

    /// True if handshakes must wait for the signer. The wait is bounded, because the set in force may be outdated but
    /// can be used.
    var awaitsSigner: Bool {
        guard let since = askedSigner else { return false }
        let patience = inForce == nil ? Self.firstPatience : Self.signerPatience
        return files.threads.clock() - since < patience
    }

    /// Time of the next attempt to open a missing token; `nil` if none is missing.
    var nextRetry: UInt64? { candidate == nil ? retry?.due : nil }

    /// All sets whose keys the signer may have.
    var sets: [CredentialSet] { currentSets + overtaken }

    /// True if a key or certificate is on a token.
    var usesTokens: Bool {
        source?.usesTokens == true || inForce?.usesTokens == true
    }

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
        if SystemError.denied.contains(error.number) {
            return "; remedy: give it to root, or see the drop-in file foreign-files.conf"
        }
        return error.number == SystemError.noFile ? "; remedy: put it there, or correct the settings" : ""
    }

    private mutating func noticesAboutModes(_ identities: [String: FileIdentity]) -> [String] {
        complaintsAboutModes(identities).compactMap { path, text in
            guard modeNotices[path] != identities[path] else { return nil }
            modeNotices[path] = identities[path]
            return text
        }
    }

    /// Files that others can write, and secrets that others can read.
    private func complaintsAboutModes(_ identities: [String: FileIdentity]) -> [(path: String, text: String)] {
        identities.sorted { $0.key < $1.key }.compactMap { path, identity in
            let isKey = source?.isSecret(path) == true
            guard identity.mode & (isKey ? 0o027 : 0o022) != 0 else { return nil }
            let remedy = isKey ? "chmod 600" : "chmod go-w"
            let danger = isKey ? "can be read or written by others" : "can be written by others"
            return (path, "\(path) \(danger); remedy: \(remedy) \(path)")
        }
    }
}
