internal import Handshake
package import Policy

/// State of the whole daemon: the answer to `status`. Texts are empty if they do not apply.
package struct ServiceReport: Decodable, Equatable, Sendable {
    package var `protocol` = 1
    package var version: String
    /// Uptime.
    package var seconds: Int
    /// Files that the settings came from.
    package var settings: [String] = []
    package var kernel = Kernel()
    package var namespaces: [Namespace] = []
    package var credentials: [Credentials] = []
    package var workers = Workers()
    /// Layers that confine the broker, the workers and the signer; without those that have not reported yet.
    package var confinement: [Confinement] = []
    package var inFlight = 0
    package var limits: [Limit] = []
    /// Peers that are refused for a time, longest first; 32 at most.
    package var penalties: [Penalty] = []
    /// Number of handshakes refused to such peers since the start.
    package var penaltyRefusals = 0
    /// Number of dropped log lines since the start.
    package var linesDropped = 0
    /// Refusals on the control socket since the start.
    package var controlRefusals: [Refusal] = []
    package var counts: [Count] = []
    package var lastFailures: [HandshakeRecord] = []
    /// Worst first; empty if there is no problem.
    package var problems: [Problem] = []

    package struct Kernel: Codable, Equatable, Sendable {
        /// TLS 1.3 ciphers that kernel TLS supports.
        package var ciphers: [String] = []
        package var limitsTransmitPayload = false

        package init() {}
    }

    /// A network namespace that is served. The name of the initial one is empty.
    package struct Namespace: Codable, Equatable, Sendable {
        package var name: String
        package var transports: [String]
        /// Other processes that listen in it.
        package var rivals: [String]

        package init(name: String, transports: [String], rivals: [String]) {
            self.name = name
            self.transports = transports
            self.rivals = rivals
        }
    }

    /// Credentials of a role in a profile. The name of the default profile is empty.
    package struct Credentials: Codable, Equatable, Sendable {
        package var profile: String
        package var role: String
        /// True if handshakes can be served with these credentials.
        package var inForce: Bool
        /// The workers' description of the credentials in force.
        package var summary: String
        /// Reason why none can be used, or not the newest.
        package var problem: String
        /// Certificates presented to peers, including intermediates; first to expire first.
        package var certificates: [Certificate] = []
        /// Number of authorities in the trust store.
        package var authorities = 0
        /// Number of peers that are identified by the digest of their certificate or key.
        package var pins = 0
        /// `nil` if none is configured.
        package var revocation: Revocation?

        package init(profile: String, role: String, inForce: Bool, summary: String, problem: String) {
            self.profile = profile
            self.role = role
            self.inForce = inForce
            self.summary = summary
            self.problem = problem
        }

        /// Name in the log.
        package var label: String { (profile.isEmpty ? "" : "profile \(profile), ") + role }
    }

    /// A certificate that we present.
    package struct Certificate: Codable, Equatable, Sendable {
        /// Path, or URL on a token.
        package var file: String
        /// RFC 4514 text.
        package var subject: String
        /// RFC 4514 text.
        package var issuer: String
        /// Seconds since 1970-01-01T00:00:00Z.
        package var notBefore: Int
        /// Seconds since 1970-01-01T00:00:00Z.
        package var notAfter: Int
        /// Whole days until expiry; negative after it.
        package var daysLeft = 0

        package init(file: String, subject: String, issuer: String, notBefore: Int, notAfter: Int) {
            self.file = file
            self.subject = subject
            self.issuer = issuer
            self.notBefore = notBefore
            self.notAfter = notAfter
        }
    }

    /// A file of revocation lists.
    package struct Revocation: Codable, Equatable, Sendable {
        package var file: String
        package var lists: Int
        /// Earliest nextUpdate in seconds since 1970-01-01T00:00:00Z; `nil` if no list has one.
        package var nextUpdate: Int?
        /// Whole days until nextUpdate; negative after it.
        package var daysLeft: Int?

        package init(file: String, lists: Int, nextUpdate: Int?) {
            self.file = file
            self.lists = lists
            self.nextUpdate = nextUpdate
        }
    }

    package struct Workers: Codable, Equatable, Sendable {
        package var ready = 0
        /// Target number of workers.
        package var places = 0
        /// Number of workers that died since the start.
        package var deaths = 0
        /// Number of workers that were replaced since the start, as `[workers]` says.
        package var replaced = 0
        /// Identities whose PSKs workers were given since the start, counted for each worker.
        package var identities = 0
        /// Number of signers that died since the start.
        package var signerDeaths = 0
        /// Signers that are ready: `files`, `tokens`.
        package var signers: [String] = []
        /// Time until the next worker is started in place of those that died; 0 if none is delayed.
        package var pauseMilliseconds = 0

        package init() {}
    }

    package struct Confinement: Codable, Equatable, Sendable {
        /// `broker`, `workers`, `signer` or `signer for tokens`.
        package var process: String
        /// Layers that hold.
        package var layers: [String]
        /// Layers that are missing, with the reason.
        package var lacking: [String]

        package init(process: String, layers: [String], lacking: [String]) {
            self.process = process
            self.layers = layers
            self.lacking = lacking
        }
    }

    package struct Count: Codable, Equatable, Sendable {
        package var consumer: String
        /// `success` or `failure`.
        package var result: String
        package var reason: String
        package var count: Int
    }

    /// Effects of a limit in `[limits]` since the start.
    package struct Limit: Codable, Equatable, Sendable {
        /// Key of the setting.
        package var name: String
        /// Handshakes in progress that were evicted.
        package var evicted: Int
        /// New handshakes that were refused.
        package var refused: Int

        package init(name: String, evicted: Int, refused: Int) {
            self.name = name
            self.evicted = evicted
            self.refused = refused
        }
    }

    /// A peer that is refused for a time because it cost too much.
    package struct Penalty: Codable, Equatable, Sendable {
        /// An IPv4 address, or an IPv6 /64.
        package var peer: String
        /// `workerKilled` or `overBudget`.
        package var offence: String
        package var offences: Int
        package var secondsLeft: Int
        /// Number of handshakes refused to it.
        package var refused: Int

        package init(_ penalty: Penalties.Penalty, now: UInt64) {
            peer = "\(penalty.peer)"
            offence = penalty.offence.rawValue
            offences = penalty.offences
            secondsLeft = Int((max(penalty.until, now) - now) / 1_000_000_000) + 1
            refused = penalty.refused
        }
    }

    /// Number of control requests refused for one reason.
    package struct Refusal: Codable, Equatable, Sendable {
        package var reason: String
        package var count: Int

        package init(reason: String, count: Int) {
            self.reason = reason
            self.count = count
        }
    }

    package struct Problem: Codable, Equatable, Sendable {
        /// True if no handshake can be served, or none of a role that is configured.
        package var isFailure: Bool
        package var text: String

        package init(_ text: String, isFailure: Bool = false) {
            self.text = text
            self.isFailure = isFailure
        }
    }

    package init(version: String, seconds: Int) {
        self.version = version
        self.seconds = seconds
    }

    /// Time in seconds during which a failure counts as a current problem.
    package static let memory = 600

    /// Days before expiry of a revocation list from which it is reported as a problem.
    package static let revocationWarningDays = 2
    private static let day = 86_400

    /// Bounds the answer: every line of a settings file may cause a warning.
    private static let mostWarnings = 32

    /// Adds the history, and determines the problems. `known` and `warnings` are those that only the daemon sees.
    ///
    /// - Parameters:
    ///   - warnings: things that work but should be changed.
    ///   - now: seconds since 1970-01-01T00:00:00Z.
    package mutating func conclude(
        _ history: HandshakeHistory, known: [Problem], warnings: [String] = [], now: Int
    ) {
        counts = history.totals
        lastFailures = history.failures(10)
        var found = known
        if workers.ready == 0 {
            found.append(Problem("no worker is ready, no handshake is served; remedy: see the log", isFailure: true))
        }
        if namespaces.isEmpty {
            found.append(Problem("no network namespace is served; remedy: see the log", isFailure: true))
        }
        for namespace in namespaces {
            let place = namespace.name.isEmpty ? "" : " in namespace \(namespace.name)"
            for rival in namespace.rivals {
                found.append(Problem("\(rival) listens for handshakes\(place), too; remedy: stop one of the two"))
            }
        }
        for entry in credentials where !entry.problem.isEmpty {
            let consequence = entry.inForce ? "" : "; this role is not served until this is fixed"
            found.append(
                Problem("\(entry.label) credentials: \(entry.problem)\(consequence)", isFailure: !entry.inForce))
        }
        countDays(now: now)
        let expiries = expiries(now: now)
        found += expiries.past
        if workers.pauseMilliseconds > 0 {
            found.append(
                Problem(
                    "workers die (\(workers.deaths) since the start), the next starts in \(workers.pauseMilliseconds) ms; "
                        + "remedy: see the log"))
        }
        for record in history.unresolved(now: now, seconds: Self.memory) { found.append(Problem(record.text)) }
        found += expiries.soon
        found += warnings.prefix(Self.mostWarnings).map { Problem($0) }
        if warnings.count > Self.mostWarnings {
            found.append(
                Problem(
                    "\((warnings.count - Self.mostWarnings).counted("more warning is", "more warnings are")) not shown; remedy: tlshctl check"
                ))
        }
        problems = found.filter(\.isFailure) + found.filter { !$0.isFailure }
    }

    /// Whole days until `time`, an arbitrary number from a worker; -1 on the day after.
    private static func days(until time: Int, from now: Int) -> Int {
        let bound = 1 << 60
        let left = max(-bound, min(time, bound)) - now
        return (left >= 0 ? left : left - day + 1) / day
    }

    private mutating func countDays(now: Int) {
        for index in credentials.indices {
            let next = credentials[index].revocation?.nextUpdate
            credentials[index].revocation?.daysLeft = next.map { Self.days(until: $0, from: now) }
            for place in credentials[index].certificates.indices {
                let time = credentials[index].certificates[place].notAfter
                credentials[index].certificates[place].daysLeft = Self.days(until: time, from: now)
            }
        }
    }

    /// Expired items, and items that expire soon, worst first. Call it after `countDays`.
    private func expiries(now: Int) -> (past: [Problem], soon: [Problem]) {
        var found: [(daysLeft: Int, problem: Problem)] = []
        for entry in credentials where entry.inForce {
            for certificate in entry.certificates
            where CertificateExpiry.isNear(
                notBefore: Int64(certificate.notBefore), notAfter: Int64(certificate.notAfter), now: Int64(now))
            {
                let when = Self.when(certificate.daysLeft, past: "expired", coming: "expires")
                let what = "\(entry.label): certificate \(certificate.subject) of \(certificate.file)"
                found.append((certificate.daysLeft, Problem("\(what) \(when); remedy: renew it")))
            }
            guard let revocation = entry.revocation, let left = revocation.daysLeft, left <= Self.revocationWarningDays
            else { continue }
            let when = Self.when(left, past: "expired", coming: "expires")
            let consequence = left < 0 ? ", peers of its issuer are refused" : ""
            let what = "\(entry.label): revocation list \(revocation.file)"
            found.append((left, Problem("\(what) \(when)\(consequence); remedy: renew the file")))
        }
        found.sort { $0.daysLeft < $1.daysLeft }
        return (found.filter { $0.daysLeft < 0 }.map(\.problem), found.filter { $0.daysLeft >= 0 }.map(\.problem))
    }

    private static func when(_ daysLeft: Int, past: String, coming: String) -> String {
        func days(_ count: Int) -> String { count == 0 ? "less than a day" : count.counted("day") }
        return daysLeft < 0 ? "\(past) \(days(-1 - daysLeft)) ago" : "\(coming) in \(days(daysLeft))"
    }
}

extension ServiceReport {
    /// JSON document.
    package var json: String {
        JSON.object([
            ("protocol", .number(`protocol`)), ("version", .text(version)), ("seconds", .number(seconds)),
            ("settings", .texts(settings)),
            (
                "kernel",
                .object([
                    ("ciphers", .texts(kernel.ciphers)), ("limitsTransmitPayload", .flag(kernel.limitsTransmitPayload)),
                ])
            ),
            ("namespaces", .list(namespaces.map(\.json))), ("credentials", .list(credentials.map(\.json))),
            ("workers", workers.json), ("confinement", .list(confinement.map(\.json))), ("inFlight", .number(inFlight)),
            ("limits", .list(limits.map(\.json))),
            ("penalties", .list(penalties.map(\.json))), ("penaltyRefusals", .number(penaltyRefusals)),
            ("linesDropped", .number(linesDropped)), ("controlRefusals", .list(controlRefusals.map(\.json))),
            (
                "counts",
                .list(
                    counts.map {
                        .object([
                            ("consumer", .text($0.consumer)), ("result", .text($0.result)),
                            ("reason", .text($0.reason)), ("count", .number($0.count)),
                        ])
                    })
            ),
            ("lastFailures", .list(lastFailures.map(\.json))),
            (
                "problems",
                .list(problems.map { .object([("isFailure", .flag($0.isFailure)), ("text", .text($0.text))]) })
            ),
        ]).description + "\n"
    }
}

extension ServiceReport.Limit {
    fileprivate var json: JSON {
        .object([("name", .text(name)), ("evicted", .number(evicted)), ("refused", .number(refused))])
    }
}

extension ServiceReport.Penalty {
    fileprivate var json: JSON {
        .object([
            ("peer", .text(peer)), ("offence", .text(offence)), ("offences", .number(offences)),
            ("secondsLeft", .number(secondsLeft)), ("refused", .number(refused)),
        ])
    }
}

extension ServiceReport.Refusal {
    fileprivate var json: JSON { .object([("reason", .text(reason)), ("count", .number(count))]) }
}

extension ServiceReport.Namespace {
    fileprivate var json: JSON {
        .object([("name", .text(name)), ("transports", .texts(transports)), ("rivals", .texts(rivals))])
    }
}

extension ServiceReport.Workers {
    fileprivate var json: JSON {
        .object([
            ("ready", .number(ready)), ("places", .number(places)), ("deaths", .number(deaths)),
            ("replaced", .number(replaced)), ("identities", .number(identities)),
            ("signerDeaths", .number(signerDeaths)), ("signers", .texts(signers)),
            ("pauseMilliseconds", .number(pauseMilliseconds)),
        ])
    }
}

extension ServiceReport.Confinement {
    fileprivate var json: JSON {
        .object([("process", .text(process)), ("layers", .texts(layers)), ("lacking", .texts(lacking))])
    }
}

extension ServiceReport.Credentials {
    fileprivate var json: JSON {
        .object([
            ("profile", .text(profile)), ("role", .text(role)), ("inForce", .flag(inForce)),
            ("summary", .text(summary)), ("problem", .text(problem)), ("certificates", .list(certificates.map(\.json))),
            ("authorities", .number(authorities)), ("pins", .number(pins)),
            ("revocation", revocation?.json ?? .null),
        ])
    }
}

extension ServiceReport.Certificate {
    fileprivate var json: JSON {
        .object([
            ("file", .text(file)), ("subject", .text(subject)), ("issuer", .text(issuer)),
            ("notBefore", .number(notBefore)), ("notAfter", .number(notAfter)), ("daysLeft", .number(daysLeft)),
        ])
    }
}

extension ServiceReport.Revocation {
    fileprivate var json: JSON {
        .object([
            ("file", .text(file)), ("lists", .number(lists)), ("nextUpdate", nextUpdate.map { .number($0) } ?? .null),
            ("daysLeft", daysLeft.map { .number($0) } ?? .null),
        ])
    }
}

/// JSON text (RFC 8259), as far as the answers need it; the daemon uses no JSON library.
enum JSON: Sendable {
    case text(String)
    case number(Int)
    case flag(Bool)
    case null
    case list([JSON])
    case object([(String, JSON)])

    static func optional(_ text: String?) -> JSON { text.map { .text($0) } ?? .null }

    static func texts(_ texts: [String]) -> JSON { .list(texts.map { .text($0) }) }

    var description: String {
        switch self {
        case .text(let text): Self.quoted(text)
        case .number(let number): "\(number)"
        case .flag(let flag): flag ? "true" : "false"
        case .null: "null"
        case .list(let items): "[" + items.map(\.description).joined(separator: ",") + "]"
        case .object(let members):
            "{" + members.map { "\(Self.quoted($0.0)):\($0.1.description)" }.joined(separator: ",") + "}"
        }
    }

    private static func quoted(_ text: String) -> String {
        var quoted = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": quoted += "\\\""
            case "\\": quoted += "\\\\"
            // Escaped, because a document may be displayed on a terminal.
            case _ where scalar.isControlling:
                for unit in String(scalar).utf16 {
                    let digits = String(unit, radix: 16)
                    quoted += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
                }
            default: quoted.unicodeScalars.append(scalar)
            }
        }
        return quoted + "\""
    }
}
