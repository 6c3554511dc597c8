internal import ArgumentParser
internal import Control
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
    @OptionGroup var output: OutputOptions

    @Option(
        name: .long, parsing: .singleValue,
        help: ArgumentHelp(
            "Look at this alone: \(Finding.Area.allCases.map(\.rawValue).joined(separator: ", ")). Can be repeated.",
            valueName: "area"))
    var only: [Finding.Area] = []

    @Option(
        name: .long,
        help: ArgumentHelp("Report certificates that expire within this number of days.", valueName: "number"))
    var days = ServiceReport.warningDays

    @Option(name: .long, help: ArgumentHelp("The name or address that the peer is mounted by.", valueName: "host"))
    var peer: String?

    @Option(
        name: .long, help: ArgumentHelp("The peer's certificate, in PEM.", valueName: "file"), completion: .file())
    var certificate: String?

    func validate() throws {
        guard (peer == nil) == (certificate == nil) else {
            throw ValidationError("--peer and --certificate belong together")
        }
        guard peer != "" else { throw ValidationError("--peer needs a name or an address") }
        guard (0...3650).contains(days) else { throw ValidationError("--days must be 0 to 3650") }
    }

    func run() throws {
        try GnuTLSStart.run()
        if let peer, let certificate { return try PeerCheck(peer, path: certificate).show(on: output.output) }
        let report = CheckReport(findings: findings())
        try output.output.show(report) { report.text(on: $0) }
        try report.status.finish()
    }

    private func findings() -> [Finding] {
        let areas = only.isEmpty ? Finding.Area.allCases : only
        let looksAtKernel = areas.contains(.kernel) || areas.contains(.policy)
        let kernel = looksAtKernel ? KernelCheck() : nil
        let settings = SettingsCheck(settings)
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
