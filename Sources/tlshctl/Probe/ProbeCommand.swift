internal import ArgumentParser
internal import Handshake
internal import Policy
internal import Settings
internal import System
internal import TLS
internal import Unconfined
internal import Wire
internal import X509

/// `tlshctl probe`: the handshake of a mount, without kernel and mount.
struct ProbeCommand: PrintsFacts {
    static let configuration = CommandConfiguration(
        commandName: "probe", abstract: "Try a TLS handshake with a server, as tlshd would make it.",
        discussion: """
            HOST[:PORT], HOST:/EXPORT or nfs://HOST[:PORT][/EXPORT] asks by RPC for TLS first (RFC 9289), \
            nvme://HOST[:PORT] offers a PSK, tls://HOST:PORT begins with TLS. \
            Neither kernel support nor root is needed where the key can be read.
            """)

    @Argument(
        help: ArgumentHelp(
            "HOST[:PORT], HOST:/EXPORT, nfs://HOST[:PORT][/EXPORT], nvme://HOST[:PORT] or tls://HOST:PORT.",
            valueName: "server"), transform: ProbeTarget.parse)
    var target: ProbeTarget

    @Option(
        name: .long,
        help: ArgumentHelp("The name that the certificate must contain, instead of HOST.", valueName: "host"))
    var name: String?

    @Option(name: .long, help: ArgumentHelp("Give up after this number of seconds.", valueName: "seconds"))
    var timeout = 10

    @OptionGroup(title: "Certificates") var credentials: ProbeCredentialOptions
    @OptionGroup(title: "Pre-shared keys") var keys: ProbeKeyOptions
    @OptionGroup var settings: ConfigurationOptions
    @OptionGroup var output: OutputOptions

    func validate() throws {
        guard (1...3600).contains(timeout) else { throw ValidationError("--timeout must be 1 to 3600") }
        guard name != "" else { throw ValidationError("--name needs a name or an address") }
    }

    func run() throws {
        KeyMaterial.harden()
        try GnuTLSStart.run()
        var report = ProbeReport(target: target.defaultValueDescription)
        do {
            try probe(&report)
        } catch let problem as ConnectionProblem {
            report.problem = problem.text
            report.remedy = problem.remedy
            report.isUnreachable = problem.isUnknown
        }
        try finish(report)
    }

    private func probe(_ report: inout ProbeReport) throws {
        let settings = try settings.require().settings
        let environment = try environment(&report)
        if target.scheme == .nvme { report.notes += try keys.problemsWithNames() }
        let connection = try Connection(target, seconds: timeout)
        report.address = connection.peer
        var progress = Progress("waiting for \(connection.peer)")
        let run = ProbeRun(connection: connection, environment: environment)
        switch target.scheme {
        case .nfs, .tls: try withCertificates(run, settings, &report, &progress)
        case .nvme: try withKey(run, settings, &report, &progress)
        }
        explainSilence(&report, until: connection.deadline)
    }

    /// Drops privileges: all files have been read, and what follows parses data of the peer.
    private func dropPrivileges(_ report: inout ProbeReport) {
        do throws(SystemError) {
            try Privileges.becomeNobody()
        } catch {
            report.notes.append("the probe ran with root's privileges: \(error.description)")
        }
    }

    private func environment(_ report: inout ProbeReport) throws -> TLSEnvironment {
        do throws(GnuTLSError) {
            let host = try HostEnvironment()
            if !host.knowsKernel {
                report.notes.append("this kernel's TLS was not found, so that every cipher of kTLS is offered")
            }
            return host.tls
        } catch {
            throw ConnectionProblem(
                text: "the crypto policy leaves nothing to negotiate: \(error.description)",
                remedy: "tlshctl check --only policy")
        }
    }

    private func withCertificates(
        _ run: ProbeRun, _ settings: DaemonSettings, _ report: inout ProbeReport, _ progress: inout Progress
    ) throws {
        let wanted = name ?? String(target.host.prefix { $0 != "%" })
        let choice = try credentials.choose(settings, for: subject(run, .x509, wanted))
        if !choice.verifiesByPin { report.name = wanted }
        report.profile = choice.profile
        report.mode = choice.presentsCertificate ? .x509 : .unauth
        if target.scheme == .nfs {
            report.outlook = choice.certificate.outlook
        } else if case .omitted(let reason) = choice.certificate {
            report.notes.append("\(reason), so that no certificate is presented")
        }
        if choice.verifiesByPin {
            report.notes.append("x509.pin replaces the checks of authorities and name")
        } else if !choice.checksRevocation {
            report.notes.append("revocation is not checked: no x509.crl is set")
        }
        dropPrivileges(&report)
        if target.scheme == .nfs {
            let opening = Opening.rpc(on: run.connection, &progress)
            if let failure = opening.failure { return refuse(failure, &report) }
            report.opening = opening.text
        }
        let plan = ProbeRun.Plan(
            peerName: wanted, credentials: choice.credentials, presentsCertificate: choice.presentsCertificate,
            rules: choice.rules, limits: choice.limits, verifiesByPin: choice.verifiesByPin)
        try run.run(plan, into: &report, &progress)
        if report.alertReceived == Alert.certificateRequired.name, case .omitted(let reason) = choice.certificate {
            report.remedy =
                "present the configured certificate, as a mount with xprtsec=mtls does; not done here: \(reason)"
        }
    }

    /// Properties of the request for the profile rules.
    private func subject(_ run: ProbeRun, _ authentication: Authentication, _ peerName: String) -> ProfileSubject {
        let request = HandshakeRequest(
            transport: .netlink, role: .client, authentication: authentication, peerName: peerName)
        return ProfileSubject(request, peerAddress: run.connection.peer, localPort: run.connection.localPort)
    }

    private func withKey(
        _ run: ProbeRun, _ settings: DaemonSettings, _ report: inout ProbeReport, _ progress: inout Progress
    ) throws {
        let limits = try credentials.limits(settings, for: subject(run, .preSharedKey, name ?? target.host))
        let identity = try keys.find()
        report.mode = .psk
        report.identity = identity.text
        report.keyOrigin = identity.origin
        dropPrivileges(&report)
        try run.run(identity, within: limits, into: &report, &progress)
        guard let lack = identity.lack else { return }
        // With a made-up key, the probe only shows if the peer speaks TLS.
        guard report.reason != "\(FailureReason.peerSpeaksPlainText)" else {
            report.notes.append(lack)
            return
        }
        let speaksTLS = report.alertReceived != nil || report.suite != nil
        let answer = report.problem ?? "a handshake"
        report.problem =
            lack + (speaksTLS ? "; the peer speaks TLS, and answered" : "; the peer answered")
            + " a made-up key with: \(answer)"
        report.remedy =
            "insert it with tlshctl keys insert, or give --psk-file; if the PSK is of another host name, give --hostnqn"
    }

    /// Reports a failure before TLS.
    private func refuse(_ failure: HandshakeFailure, _ report: inout ProbeReport) {
        guard !Self.silences.contains(failure.reason) else {
            report.fail(
                failure, remedy: "check that nfsd runs on the server, and that this is its port; TLS was not begun yet")
            if failure.reason == .deadlineExceeded {
                report.problem = "the server accepted the connection, and did not answer an RPC call in time"
            }
            return
        }
        let remedy: String? =
            if failure.reason == .peerSpeaksPlainText {
                "run a TLS handshake daemon on the server, and export with xprtsec=tls or mtls"
            } else if failure.detail == Opening.beginsWithTLS {
                "check the port; \(target.text(as: .tls)) is the URL of such a server"
            } else {
                nil
            }
        report.fail(failure, remedy: remedy)
    }

    /// Failures of a connection on which the peer says nothing.
    private static let silences: [FailureReason] = [.peerClosed, .connectionReset, .deadlineExceeded]

    private static let remedyForSilence =
        "tlshctl check and tlshctl status there: check if tlshd runs, is stopped, or is at its limits"

    /// Explains a connection that the peer closed without an answer, depending on the protocol.
    private func explainSilence(_ report: inout ProbeReport, until deadline: UInt64) {
        let isSilent = Self.silences.contains { report.reason == "\($0)" }
        guard isSilent, report.alertReceived == nil else { return }
        guard report.certificates.isEmpty else {
            // It has sent its certificate, so that it speaks TLS.
            if report.reason == "\(FailureReason.peerClosed)" {
                report.remedy = "see the server's log: it speaks TLS, and has closed this connection without an alert"
            }
            return
        }
        let now = Clock.monotonicNanoseconds()
        let secondsLeft = Int((deadline - min(now, deadline)) / 1_000_000_000)
        switch target.scheme {
        case .nfs where report.opening != nil:
            report.problem = "the server offers TLS and does not answer when it begins: \(report.problem ?? "")"
            report.remedy = Self.remedyForSilence
        case .nvme where secondsLeft > 0 && Opening.greetsPlainly(target, seconds: min(secondsLeft, 5)):
            report.fail(HandshakeFailure(.peerSpeaksPlainText, "it answered an ICReq without TLS"))
            report.remedy = "set the port's tsas to tls1.3 and treq to required on the target, or connect without --tls"
        case .nvme where report.keyOrigin != nil: report.remedy = Self.remedyForSilence
        case .nfs, .nvme, .tls: return
        }
    }
}

/// Target of a probe: `nfs://HOST[:PORT][/EXPORT]`, `nvme://HOST[:PORT]`, `tls://HOST:PORT`, or an NFS server without
/// scheme: `HOST[:PORT]`, or `HOST:/EXPORT` as in fstab(5).
struct ProbeTarget: Sendable, Equatable {
    enum Scheme: String, Sendable, CaseIterable {
        case nfs
        case nvme
        case tls

        var port: UInt16? {
            switch self {
            case .nfs: 2049
            // Port for I/O; discovery uses 8009.
            case .nvme: 4420
            case .tls: nil
            }
        }
    }

    let scheme: Scheme
    /// A name, or an address without brackets; an IPv6 address may have a zone.
    let host: String
    let port: UInt16

    /// Reads an argument. Wrong usage if it is not a target.
    static func parse(_ text: String) throws -> ProbeTarget {
        if let target = ProbeTarget(argument: text) { return target }
        guard ProbeTarget(argument: text + ":1") == nil else {
            throw ValidationError("tls:// has no usual port, so that it needs one, as in \(text):443")
        }
        throw ValidationError("write HOST, HOST:PORT, HOST:/EXPORT, or a URL with nfs, nvme or tls")
    }

    init?(argument: String) {
        var scheme = Scheme.nfs
        var rest = argument[...]
        var mayHavePort = true
        if let separator = argument.firstRange(of: "://") {
            guard let named = Scheme(rawValue: argument[..<separator.lowerBound].lowercased()) else { return nil }
            scheme = named
            rest = argument[separator.upperBound...]
            if let slash = rest.firstIndex(of: "/") {
                guard scheme == .nfs || rest[slash...] == "/" else { return nil }
                rest = rest[..<slash]
            }
        } else if let export = argument.firstRange(of: ":/") {
            rest = argument[..<export.lowerBound]
            mayHavePort = false
        }
        guard let (host, port) = Self.split(rest), mayHavePort || port.isEmpty else { return nil }
        guard let number = port.isEmpty ? scheme.port : Self.number(port) else { return nil }
        self.scheme = scheme
        self.host = host
        self.port = number
    }

    /// Splits `HOST`, `HOST:PORT`, `[ADDRESS]`, `[ADDRESS]:PORT`, or a plain IPv6 address.
    private static func split(_ text: Substring) -> (host: String, port: Substring)? {
        var host = text
        var port = Substring()
        if text.hasPrefix("[") {
            guard let close = text.firstIndex(of: "]") else { return nil }
            host = text[text.index(after: text.startIndex)..<close]
            let rest = text[text.index(after: close)...]
            guard rest.isEmpty || rest.hasPrefix(":") && rest.count > 1 else { return nil }
            port = rest.dropFirst()
        } else if let colon = text.firstIndex(of: ":"), text[text.index(after: colon)...].firstIndex(of: ":") == nil {
            host = text[..<colon]
            port = text[text.index(after: colon)...]
            guard !port.isEmpty else { return nil }
        }
        let isName = !host.isEmpty && host.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F && $0 != UInt8(ascii: "/") }
        return isName ? (String(host), port) : nil
    }

    private static func number(_ text: Substring) -> UInt16? {
        UInt16(text).flatMap { $0 > 0 && String($0) == text ? $0 : nil }
    }

    /// URL with the port.
    var defaultValueDescription: String { text(as: scheme) }

    /// URL of the same host and port with another scheme.
    func text(as scheme: Scheme) -> String {
        "\(scheme.rawValue)://\(host.contains(":") ? "[\(host)]" : host):\(port)"
    }
}
