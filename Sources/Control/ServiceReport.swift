package import Handshake

/// The state of the whole daemon: the answer to `status`. Texts are empty where there is nothing to say.
package struct ServiceReport: Codable, Equatable, Sendable {
    package var `protocol` = 1
    package var version: String
    /// Since the start.
    package var seconds: Int
    /// The files that the settings came from.
    package var settings: [String] = []
    package var kernel = Kernel()
    package var namespaces: [Namespace] = []
    package var credentials: [Credentials] = []
    package var workers = Workers()
    package var inFlight = 0
    package var limits: [Limit] = []
    /// Peers that are refused for a time, the longest first; 32 at most.
    package var penalties: [Penalty] = []
    /// Handshakes that were refused to such peers since the start.
    package var penaltyRefusals = 0
    /// Lines of the log that nobody made room for, since the start.
    package var linesDropped = 0
    /// Of the control socket, since the start.
    package var controlRefusals: [Refusal] = []
    package var counts: [Count] = []
    package var lastFailures: [HandshakeRecord] = []
    /// The worst first; empty when all is well.
    package var problems: [Problem] = []

    package struct Kernel: Codable, Equatable, Sendable {
        /// Those of TLS 1.3 that kTLS takes.
        package var ciphers: [String] = []
        package var limitsTransmitPayload = false

        package init() {}
    }

    /// A network namespace that is served; the one tlshd was started in has no name.
    package struct Namespace: Codable, Equatable, Sendable {
        package var name: String
        package var transports: [String]
        /// Other processes that listen there.
        package var rivals: [String]

        package init(name: String, transports: [String], rivals: [String]) {
            self.name = name
            self.transports = transports
            self.rivals = rivals
        }
    }

    package struct Workers: Codable, Equatable, Sendable {
        package var ready = 0
        /// How many there should be.
        package var places = 0
        /// Since the start.
        package var deaths = 0
        /// Of the signer, likewise.
        package var signerDeaths = 0
        /// Until the next is started in place of those that died; 0 where none is waited for.
        package var pauseMilliseconds = 0
        /// What their sandbox lacks on this kernel.
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

    /// What one of `[limits]` has cost since the start.
    package struct Limit: Codable, Equatable, Sendable {
        /// The setting.
        package var name: String
        /// Handshakes that were under way, silent, and had to go.
        package var evicted: Int
        /// Newcomers that were kept out.
        package var refused: Int

        package init(name: String, evicted: Int, refused: Int) {
            self.name = name
            self.evicted = evicted
            self.refused = refused
        }
    }

    /// A peer that is refused for a time, as it cost too much.
    package struct Penalty: Codable, Equatable, Sendable {
        /// An IPv4 address, or an IPv6 network of 64 bits.
        package var peer: String
        /// `workerKilled` or `overBudget`.
        package var offence: String
        package var offences: Int
        package var secondsLeft: Int
        /// Handshakes that were refused to it.
        package var refused: Int

        package init(_ penalty: Penalties.Penalty, now: UInt64) {
            peer = "\(penalty.peer)"
            offence = penalty.offence.rawValue
            offences = penalty.offences
            secondsLeft = Int((max(penalty.until, now) - now) / 1_000_000_000) + 1
            refused = penalty.refused
        }
    }

    /// Questions that were not answered, for one reason.
    package struct Refusal: Codable, Equatable, Sendable {
        package var reason: String
        package var count: Int

        package init(reason: String, count: Int) {
            self.reason = reason
            self.count = count
        }
    }

    package struct Problem: Codable, Equatable, Sendable {
        /// No handshake can be served.
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

    /// How long a failure counts as a problem of the present.
    package static let memory = 600

    /// A settings file may have as many mistakes as lines, and an answer has to end.
    private static let mostWarnings = 32

    /// Takes what the history has, and finds the problems; `known` and `warnings` are those that only the daemon sees.
    ///
    /// - Parameters:
    ///   - warnings: what works, and should be changed.
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
            let consequence = entry.inForce ? "" : "; this role is not served until that is mended"
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
        for record in history.lasting(now: now, seconds: Self.memory) { found.append(Problem(record.text)) }
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
    /// The document.
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
