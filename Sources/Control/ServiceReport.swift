package import Policy

/// State of the whole daemon: the answer to `status`. Texts are empty if they do not apply.
package struct ServiceReport: Codable, Equatable, Sendable {
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

    package struct Workers: Codable, Equatable, Sendable {
        package var ready = 0
        /// Target number of workers.
        package var places = 0
        /// Number of workers that died since the start.
        package var deaths = 0
        /// Number of signers that died since the start.
        package var signerDeaths = 0
        /// Time until the next worker is started in place of those that died; 0 if none is delayed.
        package var pauseMilliseconds = 0
        /// Restrictions of the workers' sandbox that this kernel lacks.
        package var unconfined = ""

        package init() {}
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
        /// True if no handshake can be served.
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
            found.append(Problem("\(entry.label) credentials: \(entry.problem)\(consequence)"))
        }
        countDays(now: now)
        let expiries = expiries
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
                Problem("there are \(warnings.count - Self.mostWarnings) more warnings; remedy: tlshctl check"))
        }
        problems = found.filter(\.isFailure) + found.filter { !$0.isFailure }
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
            ("workers", workers.json), ("inFlight", .number(inFlight)),
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
            ("signerDeaths", .number(signerDeaths)),
            ("pauseMilliseconds", .number(pauseMilliseconds)), ("unconfined", .text(unconfined)),
        ])
    }
}
