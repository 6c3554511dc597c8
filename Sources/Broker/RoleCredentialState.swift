internal import Control
internal import Handshake
internal import Settings
internal import System
internal import Unconfined
internal import Wire

/// One role's credentials of one profile through time: what is in force, what was sent and awaits the workers' verdict,
/// and what the files looked like when they were last read. It asks for files only in `refresh`, and sends nothing
/// itself.
struct RoleCredentialState {
    let owner: CredentialsOwner
    /// Such as `client` or `profile blue, client`.
    private let label: String
    /// Of what was read last; `nil` before anything was.
    private var source: CredentialSource?
    private var seen: [String: FileIdentity]?
    var files: FileWatch<RoleSettings, Reading?>
    private var lastGeneration: UInt32 = 0
    private(set) var inForce: CredentialSet?
    private(set) var candidate: CredentialSet?
    /// Candidates before that one, shown to workers and not judged yet: the first verdict on each may come when there
    /// is a newer one, and workers have it in force then.
    private var overtaken: [CredentialSet] = []
    /// Each holds descriptors.
    private static let mostOvertaken = 4
    /// Since when the candidate waits for the signer; CLOCK_MONOTONIC nanoseconds.
    private var askedSigner: UInt64?
    /// When a token that was not there is looked for again, and after how long once more.
    private var retry: (due: UInt64, pause: UInt64)?
    /// The generation that a signer hung with when it opened its keys.
    private var setAsideGeneration: UInt32?
    /// What was complained about last, so that a token that stays away is not complained about again.
    private var lastComplaint = ""
    /// Why the role cannot be served, or why the newest files are not used; empty when all is well.
    var problem: String { files.problem.isEmpty ? refusal : files.problem }
    /// The same of files that answer.
    private var refusal = ""
    /// What the workers said of those in force.
    private(set) var summary = ""
    /// The same for monitoring.
    private(set) var facts = CredentialsFacts()
    private var toldTrust = ""
    /// The newest revocation lists that were ever in force.
    private var floors: [RevocationFloor] = []
    /// Files whose mode was complained about, so that it is said once per change.
    private var modeNotices: [String: FileIdentity] = [:]

    /// - Parameter profile: the profile's name; `nil` for the default.
    init(_ owner: CredentialsOwner, profile: String? = nil, threads: FileThreads = FileThreads()) {
        files = FileWatch(threads)
        self.owner = owner
        label = (profile.map { "profile \($0), " } ?? "") + "\(owner.role)"
    }

    /// What a look at the files led to.
    struct Change {
        /// To be shown to the signer, then to every worker.
        var send: CredentialSet?
        /// A candidate that no longer counts.
        var replaced: CredentialSet?
        var errors: [String] = []
        var notices: [String] = []
    }

    /// What a look at changed files found.
    struct Reading: Sendable {
        fileprivate let source: CredentialSource
        fileprivate var seen: [String: FileIdentity]
        fileprivate var copies: Result<CredentialSource.Copies, SystemError>

        /// Reads every file, again where some are exchanged meanwhile: of a renewal we want both the certificate and
        /// its key. Gives up after four attempts; the worker checks that key and certificate match.
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

    /// Looks whether settings or files have changed and reads them if so, or if `force`. Files that do not answer leave
    /// everything as it is.
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
            // Where no worker judges, as while none can start, they must not pile up.
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

    /// Whether handshakes must wait for the files: they are being read for the first time.
    var awaitsFiles: Bool {
        guard inForce == nil, candidate == nil, let age = files.age(files.threads.clock()) else { return false }
        return age < FilePatience.complaint
    }

    /// What `tlshctl status` says of it.
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

    /// What an administrator should change though the role is served; each line names what it is about.
    var warnings: [String] {
        let texts = [facts.warning].filter { !$0.isEmpty } + [publicTrust].compactMap(\.self)
        return complaintsAboutModes(seen ?? [:]).map(\.text) + texts.map { "\(label) credentials: \($0)" }
    }

    private var publicTrust: String? {
        guard inForce != nil else { return nil }
        return source?.publicTrust(authorities: Int(facts.authorities)).map { "\($0.text); remedy: \($0.remedy)" }
    }

    /// The warning that goes with what has just come in force, once; `nil` where there is none or it was told.
    mutating func takeWarning() -> String? {
        guard let text = publicTrust else {
            toldTrust = ""
            return nil
        }
        defer { toldTrust = text }
        return text == toldTrust ? nil : "\(label) credentials: \(text)"
    }

    /// A worker's verdict on a generation; the first one counts, all workers judge alike.
    ///
    /// - Returns: the line for the log, whether it is an error, and whose keys nobody needs any longer; `nil` for a
    ///   repetition.
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
            // That newer files cannot be read stays true.
            if judged.message.generation == lastGeneration { refusal = "" }
            return ("\(label) credentials: \(verdict.summary)", false, older + [former].compactMap(\.self))
        }
        refusal = verdict.problem
        guard !isUnused else { return ("\(label) credentials: \(Self.nothing)", false, older + [judged]) }
        return ("\(label) credentials: \(refusal); \(consequence)", true, older + [judged])
    }

    /// The set that a verdict is about, which waits no longer, nor do those before it; `nil` where it changes nothing.
    private mutating func take(_ verdict: CredentialsVerdict) -> (judged: CredentialSet, older: [CredentialSet])? {
        if let judged = candidate, judged.message.generation == verdict.generation {
            defer {
                candidate = nil
                overtaken = []
            }
            return (judged, overtaken)
        }
        // One that is refused as well goes with the verdict on the next.
        guard verdict.problem.isEmpty,
            let place = overtaken.firstIndex(where: { $0.message.generation == verdict.generation })
        else { return nil }
        defer { overtaken.removeFirst(place + 1) }
        return (overtaken[place], Array(overtaken[..<place]))
    }

    /// A server that nobody gave a certificate: its handshakes fail and say so, and a host that is a client alone is
    /// well.
    private var isUnused: Bool { owner.role == .server && inForce == nil && source?.presentsCertificate == false }
    private static let nothing = "none, as no certificate is set; nothing is served with certificates"

    /// The signer's verdict on a generation's keys.
    ///
    /// - Returns: what is to be sent to every worker, and an error line; `nil` where it changes nothing.
    mutating func judge(_ verdict: SignerVerdict) -> (send: CredentialSet?, error: String?)? {
        guard let judged = candidate, judged.message.generation == verdict.generation, !judged.isComplete else {
            // A new signer was shown what is in force already.
            guard !verdict.problem.isEmpty, inForce?.message.generation == verdict.generation else { return nil }
            refusal = verdict.problem
            if verdict.isPassing { retryLater() }
            return (nil, complaint(refusal, "its handshakes fail until that is mended"))
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

    /// A signer hung while it opened these keys: no other is given them before they are tried again.
    ///
    /// - Returns: an error line; `nil` where it changes nothing.
    mutating func setAside(_ keys: SignerKeys) -> String? {
        setAsideGeneration = keys.generation
        let places = keys.parts.map(\.place).joined(separator: ", ")
        let verdict = SignerVerdict(
            owner: owner, generation: keys.generation,
            problem: "opening \(places) does not end; see what holds the token up. It is tried again in 5 minutes",
            isPassing: true)
        let outcome = judge(verdict)
        retry = (files.threads.clock() + Self.retryAfterHang, Self.lastRetry)
        return outcome?.error
    }

    /// What is in force, before what is to come.
    var currentSets: [CredentialSet] { [inForce, candidate].compactMap(\.self) }

    /// What a new signer is to open.
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

    /// Whether handshakes must wait for the signer: what is in force may be outdated, but not for ever.
    var awaitsSigner: Bool {
        guard let since = askedSigner else { return false }
        let patience = inForce == nil ? Self.firstPatience : Self.signerPatience
        return files.threads.clock() - since < patience
    }

    /// When it is time to look for a token again; `nil` where none is missing.
    var nextRetry: UInt64? { candidate == nil ? retry?.due : nil }

    /// All that the signer may hold keys of.
    var sets: [CredentialSet] { currentSets + overtaken }

    /// Whether a key or certificate on a token is among them.
    var usesTokens: Bool {
        source?.usesTokens == true || inForce?.usesTokens == true
    }

    private static let firstRetry: UInt64 = 2_500_000_000
    private static let lastRetry: UInt64 = 60_000_000_000
    /// Each try may cost the keys of all others 20 s.
    private static let retryAfterHang: UInt64 = 300_000_000_000
    private static let firstPatience: UInt64 = 20_000_000_000
    private static let signerPatience: UInt64 = 2_000_000_000

    private var consequence: String {
        inForce == nil ? "this role is not served until that is mended" : "the former ones stay in force"
    }

    /// A store or list that is named but missing is never "trust everything" or "check nothing": said where it differs
    /// from ktls-utils, so that its users are not surprised.
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

    /// What helps where a file cannot be opened.
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

    /// The files that others can write, and the secrets that they can read.
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
