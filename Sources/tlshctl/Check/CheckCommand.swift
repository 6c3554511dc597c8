internal import ArgumentParser
internal import Control
internal import Handshake
internal import Settings
internal import TLS
internal import X509

/// `tlshctl check`: checks everything that can be known before a mount.
struct CheckCommand: PrintsFacts {
    static let configuration = CommandConfiguration(
        commandName: "check", abstract: "Check everything that could make a handshake fail.",
        discussion: """
            Looks at the kernel, the settings, each file that they name, the crypto policy, the keyrings, and at who listens for \
            handshakes. The first line of the output names the worst problem.

            With --peer and --certificate: which names and addresses of a certificate are the peer's, and why the others are not.
            """)

    @OptionGroup var settings: ConfigurationOptions
    @OptionGroup var link: DaemonLink
    @OptionGroup var output: OutputOptions

    @Option(
        name: .long, parsing: .singleValue,
        help: ArgumentHelp(
            "Look at this alone: \(Finding.Area.allCases.map(\.rawValue).joined(separator: ", ")). Can be repeated.",
            valueName: "area"))
    var only: [Finding.Area] = []

    @Flag(
        name: .long,
        help: "Check settings, files and keys, and exit with 0 unless tlshd could not use them all; tlshd -t does this."
    )
    var test = false

    @Option(
        name: .long,
        help: ArgumentHelp(
            "Report certificates that expire within this number of days; without it, in their last 14 days, or in the last "
                + "third of their life if that is shorter.", valueName: "number"))
    var days: Int?

    @Option(name: .long, help: ArgumentHelp("The name or address that the peer is mounted by.", valueName: "host"))
    var peer: String?

    @Option(
        name: .long, help: ArgumentHelp("The peer's certificate, in PEM.", valueName: "file"), completion: .file())
    var certificate: String?

    @Flag(name: .long, help: PluginLine.help)
    var nagios = false

    var commandName: String { peer == nil ? "check" : "check --peer" }

    func validate() throws {
        guard (peer == nil) == (certificate == nil) else {
            throw ValidationError("--peer and --certificate belong together")
        }
        guard !nagios || !output.json else { throw ValidationError("--nagios cannot be combined with --json") }
        guard peer != "" else { throw ValidationError("--peer needs a name or an address") }
        guard (0...3650).contains(days ?? 0) else { throw ValidationError("--days must be 0 to 3650") }
    }

    func run() throws {
        try GnuTLSStart.run()
        if let peer, let certificate { return try finish(PeerCheck(peer, path: certificate)) }
        var report = CheckReport(findings: [])
        var running: RunningSettings?
        do throws(CommandError) {
            running = test ? nil : try RunningSettings(link)
        } catch {
            report.findings.append(Finding(.settings, .warning, error.summary))
        }
        report.findings += findings(running)
        report.remark = running?.remark(on: settings)
        guard test else { return try finish(report) }
        try output.output.show(report, of: commandName)
        try (report.hasFailures ? ExitStatus.failure : .success).finish()
    }

    private func findings(_ running: RunningSettings?) -> [Finding] {
        let all: [Finding.Area] = test ? [.settings, .credentials, .keys] : Finding.Area.allCases
        let areas = only.isEmpty ? all : only
        let looksAtKernel = areas.contains(.kernel) || areas.contains(.policy)
        let kernel = looksAtKernel ? KernelCheck() : nil
        let settings = SettingsCheck(settings, running: running)
        var found = (kernel?.findings ?? []) + settings.findings
        if settings.areUsable {
            found += areas.contains(.credentials) ? CredentialsCheck(settings.settings, days: days).findings : []
        }
        if areas.contains(.policy), let kernel { found += PolicyCheck(kernel.capabilities).findings }
        if areas.contains(.keys), settings.areUsable { found += KeysCheck(settings.settings).findings }
        if areas.contains(.listeners) { found += ListenerCheck(settings.settings.listener).findings }
        // Broken settings are reported even if that area was not requested, because nothing else can be checked then.
        return found.filter { areas.contains($0.area) || $0.area == .settings && !settings.areUsable }
    }
}

extension Finding.Area: ExpressibleByArgument {}

/// GnuTLS initialisation for the commands that need it.
enum GnuTLSStart {
    static func run() throws {
        do throws(GnuTLSError) {
            try GnuTLS.initialize()
        } catch {
            throw CommandError("GnuTLS cannot be started: \(error.description)")
        }
    }
}

/// Result of one check.
struct Finding: Sendable, Equatable, Encodable {
    /// Areas in the order in which they are reported.
    enum Area: String, Sendable, Encodable, CaseIterable {
        case kernel
        case settings
        case credentials
        case policy
        case keys
        case listeners
    }

    let area: Area
    let severity: Status
    let text: String
    /// Action for the operator.
    @OrNull var remedy: String?

    private enum CodingKeys: String, CodingKey {
        case area, severity = "status", text, remedy
    }

    /// Text and remedy in one line.
    let line: String

    init(_ area: Area, _ severity: Status, _ error: TextError) {
        self.area = area
        self.severity = severity
        text = error.problem
        remedy = error.remedy
        line = error.description
    }

    init(_ area: Area, _ severity: Status, _ text: String, remedy: String? = nil) {
        self.init(area, severity, TextError(text, remedy: remedy))
    }
}

/// All results of `check`.
struct CheckReport: Sendable, Report {
    var findings: [Finding]
    /// Addition to the first line; `nil` for none.
    var remark: String?

    /// True if something fails, or could not be checked.
    var hasFailures: Bool { findings.contains { $0.severity >= .unknown } }

    /// The first finding of the highest severity.
    var worst: Finding? {
        let gravest = findings.map(\.severity).max()
        return findings.first { $0.severity == gravest }
    }

    /// Notes are no reason to look at a check.
    var status: Status { worst.map(\.severity).flatMap { $0 > .note ? $0 : nil } ?? .ok }

    var summary: String { verdict + (remark.map { "; \($0)" } ?? "") }

    private var verdict: String {
        guard let worst, status != .ok else {
            return "no problems found; \(findings.count.counted("check")) made"
        }
        let others = findings.count { $0.severity == worst.severity } - 1
        let more = others > 0 ? " (and \(others) more)" : ""
        return "\(worst.line)\(more)"
    }

    var figures: [(name: String, value: String)] {
        Status.allCases.map { status in ("\(status)", "\(findings.count { $0.severity == status })") }
    }

    /// The verdict, followed by the findings by area.
    func text(on terminal: Terminal) -> String {
        var text = headline(terminal) + "\n"
        for area in Finding.Area.allCases {
            let found = findings.filter { $0.area == area }
            guard !found.isEmpty else { continue }
            text += "\n" + terminal.styled(area.rawValue, .bold) + "\n"
            for finding in found {
                let label = finding.severity.label
                let padding = String(repeating: " ", count: 8 - label.count)
                let shown = finding.severity.style.map { terminal.styled(label, $0) } ?? label
                text += "  \(shown)\(padding)\(Table.printable(finding.line))\n"
            }
        }
        return text
    }
}
