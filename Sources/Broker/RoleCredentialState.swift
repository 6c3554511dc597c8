internal import Handshake
internal import Settings
internal import System
internal import Wire

/// One role's credentials of one profile through time: what is in force, what was sent and awaits the workers' verdict, and what the files looked like
/// when they were last read. It touches files only in `refresh`, and sends nothing itself.
struct RoleCredentialState {
    let owner: CredentialsOwner
    /// Such as `client` or `profile blue, client`.
    private let label: String
    private var source: CredentialSource
    private var seen: [String: FileIdentity]?
    private var lastGeneration: UInt32 = 0
    private(set) var inForce: CredentialSet?
    private(set) var candidate: CredentialSet?
    /// Why the role cannot be served, or why the newest files are not used; empty when all is well.
    private(set) var problem = ""
    /// What the workers said of those in force.
    private(set) var summary = ""
    /// Files whose mode was complained about, so that it is said once per change.
    private var modeNotices: [String: FileIdentity] = [:]

    /// - Parameter profile: the profile's name; `nil` for the default.
    init(_ owner: CredentialsOwner, profile: String? = nil) {
        self.owner = owner
        label = (profile.map { "profile \($0), " } ?? "") + "\(owner.role)"
        source = CredentialSource(owner: owner, settings: RoleSettings())
    }

    /// What a look at the files led to.
    struct Change {
        /// To be sent to every worker.
        var send: CredentialSet?
        var errors: [String] = []
        var notices: [String] = []
    }

    /// Looks whether settings or files have changed and reads them if so, or if `force`.
    mutating func refresh(settings: RoleSettings, force: Bool = false) -> Change {
        var change = Change()
        let wanted = CredentialSource(owner: owner, settings: settings)
        let identities = wanted.identities()
        guard force || wanted != source || identities != seen else { return change }
        source = wanted
        seen = identities
        change.notices = noticesAboutModes(identities)
        if let scheme = wanted.unopenableKey {
            candidate = nil
            problem =
                "private keys on tokens (\(scheme):…) cannot be used: workers can open nothing; put the key into a PEM file"
            change.errors.append("\(label) credentials: \(problem); \(consequence)")
            return change
        }
        do {
            lastGeneration += 1
            let set = try readWhole(wanted)
            candidate = set
            change.send = set
        } catch {
            candidate = nil
            problem = "\(error.description)\(Self.hint(for: error, in: wanted))"
            change.errors.append("\(label) credentials: \(problem); \(consequence)")
        }
        return change
    }

    /// Reads every file, again where some are exchanged meanwhile: of a renewal we want both the certificate and its key. Who exchanges
    /// them for ever gets what there is; the worker sees to it that a pair belongs together.
    private mutating func readWhole(_ source: CredentialSource) throws(SystemError) -> CredentialSet {
        for _ in 0..<3 {
            let set = try source.read(generation: lastGeneration)
            let now = source.identities()
            if now == seen { return set }
            seen = now
        }
        return try source.read(generation: lastGeneration)
    }

    /// A worker's verdict on a generation; the first one counts, all workers judge alike.
    ///
    /// - Returns: the line for the log and whether it is an error; `nil` for a repetition.
    mutating func judge(_ verdict: CredentialsVerdict) -> (text: String, isError: Bool)? {
        guard let judged = candidate, judged.message.generation == verdict.generation else { return nil }
        candidate = nil
        if verdict.problem.isEmpty {
            inForce = judged
            summary = verdict.summary
            problem = ""
            return ("\(label) credentials: \(verdict.summary)", false)
        }
        problem = verdict.problem
        return ("\(label) credentials: \(problem); \(consequence)", true)
    }

    private var consequence: String {
        inForce == nil ? "this role is not served until that is mended" : "the former ones stay in force"
    }

    /// A store or list that is named but missing is never "trust everything" or "check nothing": said where it differs from
    /// ktls-utils, so that its users are not surprised.
    private static func hint(for error: SystemError, in source: CredentialSource) -> String {
        guard let file = source.files.first(where: { error.context.contains($0.path) }) else { return "" }
        return switch file.kind {
        case .trustStore where source.usesSystemTrust:
            "; it is the system's trust store: install ca-certificates, or set x509.truststore"
        case .trustStore: "; the system's trust store is not used in its place"
        case .revocationList: "; certificates are not accepted without the revocation list"
        case .certificate, .privateKey, .postQuantumCertificate, .postQuantumPrivateKey: ""
        }
    }

    private mutating func noticesAboutModes(_ identities: [String: FileIdentity]) -> [String] {
        var notices: [String] = []
        for file in source.files {
            guard let identity = identities[file.path], modeNotices[file.path] != identity else { continue }
            modeNotices[file.path] = identity
            let isKey = file.kind == .privateKey || file.kind == .postQuantumPrivateKey
            if identity.mode & (isKey ? 0o027 : 0o022) != 0 {
                let remedy = isKey ? "chmod 600" : "chmod go-w"
                let danger = isKey ? "can be read or written by others" : "can be written by others"
                notices.append("\(file.path) \(danger); remedy: \(remedy) \(file.path)")
            }
        }
        return notices
    }
}
