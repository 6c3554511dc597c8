internal import Control
internal import FoundationEssentials
internal import Handshake

/// `data` of `tlshctl status --json`. Unlike in the daemon's answer, times are dates and absent texts are `null`.
struct StatusFacts: Encodable {
    let tlshdVersion: String
    let uptimeSeconds: Int
    let settings: [String]
    let kernel: Kernel
    let namespaces: [Namespace]
    let credentials: [Credentials]
    let workers: ServiceReport.Workers
    let confinement: [ServiceReport.Confinement]
    let inFlight: Int
    let limits: [ServiceReport.Limit]
    let penalties: [ServiceReport.Penalty]
    let penaltyRefusals: Int
    let linesDropped: Int
    let controlRefusals: [ServiceReport.Refusal]
    let counts: [Count]
    let lastFailures: [HandshakeFacts]
    let problems: [Problem]

    struct Kernel: Encodable {
        let suites: [String]
        let limitsTransmitPayload: Bool
    }

    struct Namespace: Encodable {
        @OrNull var name: String?
        let transports: [String]
        let rivals: [String]
    }

    struct Credentials: Encodable {
        let profile: String
        let role: String
        let inForce: Bool
        @OrNull var summary: String?
        @OrNull var problem: String?
        let certificates: [Certificate]
        let authorities: Int
        let pins: Int
        @OrNull var revocation: Revocation?
    }

    struct Certificate: Encodable {
        let file: String
        let subject: String
        let issuer: String
        @OrNull var notAfter: Date?
        let daysLeft: Int
    }

    struct Revocation: Encodable {
        let file: String
        let lists: Int
        @OrNull var nextUpdate: Date?
        @OrNull var daysLeft: Int?
    }

    struct Count: Encodable {
        let consumer: String
        let status: Status
        @OrNull var reason: String?
        let count: Int
    }

    struct Problem: Encodable {
        let status: Status
        let text: String
    }

    init(_ report: ServiceReport) {
        tlshdVersion = report.version
        uptimeSeconds = report.seconds
        settings = report.settings
        kernel = Kernel(suites: report.kernel.suites, limitsTransmitPayload: report.kernel.limitsTransmitPayload)
        namespaces = report.namespaces.map {
            Namespace(name: $0.name.ifAny, transports: $0.transports, rivals: $0.rivals)
        }
        credentials = report.credentials.map(Credentials.init)
        workers = report.workers
        confinement = report.confinement
        inFlight = report.inFlight
        limits = report.limits
        penalties = report.penalties
        penaltyRefusals = report.penaltyRefusals
        linesDropped = report.linesDropped
        controlRefusals = report.controlRefusals
        counts = report.counts.map {
            Count(
                consumer: $0.consumer, status: $0.result == "success" ? .ok : .failed, reason: $0.reason.ifAny,
                count: $0.count)
        }
        lastFailures = report.lastFailures.map(HandshakeFacts.init)
        problems = report.problems.map { Problem(status: $0.isFailure ? .failed : .warning, text: $0.text) }
    }
}

extension StatusFacts.Credentials {
    fileprivate init(_ entry: ServiceReport.Credentials) {
        profile = profileName(entry.profile)
        role = entry.role
        inForce = entry.inForce
        summary = entry.summary.ifAny
        problem = entry.problem.ifAny
        certificates = entry.certificates.map {
            StatusFacts.Certificate(
                file: $0.file, subject: $0.subject, issuer: $0.issuer, notAfter: date($0.notAfter),
                daysLeft: $0.daysLeft)
        }
        authorities = entry.authorities
        pins = entry.pins
        revocation = entry.revocation.map {
            StatusFacts.Revocation(
                file: $0.file, lists: $0.lists, nextUpdate: $0.nextUpdate.flatMap(date), daysLeft: $0.daysLeft)
        }
    }
}

extension ServiceReport.Kernel {
    /// The cipher suites by their names in RFC 8446 and at IANA. The daemon reports the names of the ciphers.
    var suites: [String] {
        ciphers.map { name in KernelCipher.allCases.first { "\($0)" == name }?.suite ?? name }
    }
}

/// A handshake in `data` of `tlshctl handshakes --json` and `tlshctl status --json`.
struct HandshakeFacts: Encodable {
    @OrNull var time: Date?
    /// `ok` or `failed`.
    let status: Status
    let consumer: String
    @OrNull var mode: Mode?
    let role: String
    @OrNull var namespace: String?
    let profile: String
    let peer: String
    @OrNull var peerName: String?
    @OrNull var suite: String?
    @OrNull var group: String?
    @OrNull var subject: String?
    @OrNull var identity: String?
    @OrNull var alertSent: String?
    @OrNull var alertReceived: String?
    /// Error that the kernel was told.
    @OrNull var errorName: String?
    @OrNull var reason: String?
    @OrNull var remedy: String?
    @OrNull var isOurs: Bool?
    let milliseconds: Int
    let text: String

    init(_ record: HandshakeRecord) {
        time = date(record.time)
        status = record.succeeded ? .ok : .failed
        consumer = record.consumer
        mode = Mode(rawValue: record.mode)
        role = record.role
        namespace = record.namespace.ifAny
        profile = profileName(record.profile)
        peer = record.peer
        peerName = record.peerName.ifAny
        suite = record.suite
        group = record.group
        subject = record.subject
        identity = record.identity
        alertSent = record.alertSent
        alertReceived = record.alertReceived
        errorName = record.succeeded ? nil : record.status
        reason = record.reason.ifAny
        remedy = record.remedy
        isOurs = record.succeeded ? nil : record.isOurs
        milliseconds = record.milliseconds
        text = record.text
    }
}

/// Authentication: in text by the log's word, in JSON by the kernel's.
enum Mode: String, Encodable {
    case unauth = "anonymous client"
    case psk = "PSK"
    case x509

    func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode("\(self)")
    }
}

/// Name of a profile in JSON and in tables; the daemon reports no name for the default one.
func profileName(_ name: String) -> String { name.isEmpty ? "default" : name }

/// `nil` for a number that is no date; it comes from a worker.
private func date(_ seconds: Int) -> Date? {
    (0..<253_402_300_799).contains(seconds) ? Date(timeIntervalSince1970: TimeInterval(seconds)) : nil
}

extension String {
    /// `nil` if it is empty, as the daemon's answer has texts that do not apply.
    fileprivate var ifAny: String? { isEmpty ? nil : self }
}
