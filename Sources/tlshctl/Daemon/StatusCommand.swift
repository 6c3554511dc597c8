internal import ArgumentParser
internal import Control
internal import Handshake

/// `tlshctl status`: state of the running daemon.
struct StatusCommand: PrintsFacts {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "Show the state of the running tlshd, the worst problem first.")

    @Flag(name: .long, help: "Repeat every two seconds, until interrupted.")
    var watch = false

    @OptionGroup var link: DaemonLink
    @OptionGroup var output: OutputOptions

    @Flag(name: .long, help: PluginLine.help)
    var nagios = false

    @Flag(name: .long, help: "Exit with 0 if handshakes are served, even if something needs attention; for probes.")
    var ready = false

    func validate() throws {
        guard !nagios || !(watch || output.json) else {
            throw ValidationError("--nagios cannot be combined with --watch or --json")
        }
        guard !ready || !(watch || nagios) else {
            throw ValidationError("--ready cannot be combined with --watch or --nagios")
        }
    }

    func run() throws {
        guard watch else {
            switch answer {
            case .success(let report) where ready && report.status == .warning:
                return try output.stream.show(report, of: commandName)
            case .success(let report): return try finish(report)
            case .failure(let error): return try finish(error)
            }
        }
        let output = output.stream
        while true {
            // Cursor home and clear screen, only on a terminal.
            if output.terminal.width != nil, !output.json { output.write("\u{1B}[H\u{1B}[2J") }
            switch answer {
            case .success(let report): try output.show(report, of: commandName)
            case .failure(let error): try output.show(error, of: commandName)
            }
            Terminal.pause(.seconds(2))
        }
    }

    private var answer: Result<ServiceReport, CommandError> {
        Result { () throws(CommandError) in try link.ask(.status, as: ServiceReport.self) }
    }
}

extension ServiceReport: Report {
    var status: Status { problems.first.map { $0.isFailure ? .failed : .warning } ?? .ok }

    var summary: String {
        if let worst = problems.first { return worst.text }
        return "tlshd \(version) serves handshakes; \(total) so far, no problems"
    }

    private var total: Int { counts.reduce(0) { $0 + $1.count } }

    func encode(to encoder: any Encoder) throws { try StatusFacts(self).encode(to: encoder) }

    var figures: [(name: String, value: String)] {
        let failed = counts.reduce(0) { $0 + ($1.result == "success" ? 0 : $1.count) }
        let days = credentials.filter(\.inForce).flatMap { $0.certificates.map(\.daysLeft) }.min()
        return [
            ("handshakes", "\(total)c"), ("failed", "\(failed)c"), ("in_flight", "\(inFlight)"),
            ("workers", "\(workers.ready)"), ("problems", "\(problems.count)"),
        ] + (days.map { [("certificate_days", "\($0)")] } ?? [])
    }

    func text(on terminal: Terminal) -> String {
        [
            headline(terminal) + "\n" + others(terminal), overview(terminal), credentialTable(terminal),
            countTable(terminal), failureTable(terminal),
        ]
        .filter { !$0.isEmpty }.joined(separator: "\n")
    }

    private func others(_ terminal: Terminal) -> String {
        problems.dropFirst().map {
            terminal.styled("also: " + Table.printable($0.text), $0.isFailure ? .bad : .warning) + "\n"
        }.joined()
    }

    private func overview(_ terminal: Terminal) -> String {
        var table = Table()
        func add(_ name: String, _ text: String) { table.add([Table.Cell(name, .dim), Table.Cell(text)]) }
        add("tlshd", "\(version), up for \(seconds) s")
        add("settings", settings.joined(separator: ", "))
        add("kernel TLS", kernel.ciphers.isEmpty ? "no cipher suite" : kernel.suites.joined(separator: ", "))
        for namespace in namespaces {
            let name = namespace.name.isEmpty ? "its own" : namespace.name
            add("namespace", "\(name): \(namespace.transports.joined(separator: ", "))")
        }
        add(
            "workers",
            "\(workers.ready) of \(workers.places) ready; since the start \(workers.replaced) replaced, \(workers.deaths) died"
        )
        if !workers.signers.isEmpty {
            let keys = workers.signers.joined(separator: " and one for ")
            add("signers", "one for \(keys) ready, \(workers.signerDeaths) died since the start")
        }
        for sandbox in confinement {
            add("sandbox", "\(sandbox.process): \(sandbox.layers.joined(separator: ", "))")
            for lack in sandbox.lacking { add("missing", "\(sandbox.process): \(lack)") }
        }
        add("in flight", "\(inFlight)")
        for penalty in penalties {
            add(
                "refused",
                "\(penalty.peer), \(penalty.secondsLeft) s more: \(penalty.offence), \(penalty.refused.counted("handshake")) refused"
            )
        }
        return table.text(on: terminal)
    }

    private func credentialTable(_ terminal: Terminal) -> String {
        var table = Table(["PROFILE", "ROLE", "STATE", "DAYS LEFT", "CREDENTIALS"])
        for entry in credentials {
            let state = Table.Cell(
                entry.inForce ? "in force" : "not served",
                entry.problem.isEmpty ? (entry.inForce ? .good : nil) : .warning)
            var head = [Table.Cell(profileName(entry.profile)), Table.Cell(entry.role), state]
            for line in entry.lines {
                table.add(head + line)
                head = ["", "", ""]
            }
        }
        return table.text(on: terminal)
    }

    private func countTable(_ terminal: Terminal) -> String {
        var table = Table(["CONSUMER", "RESULT", "REASON", "COUNT"])
        for count in counts {
            table.add([
                Table.Cell(count.consumer), Table.Cell(count.result, count.result == "success" ? .good : .bad),
                Table.Cell(count.reason.isEmpty ? "-" : count.reason), Table.Cell("\(count.count)"),
            ])
        }
        return table.text(on: terminal)
    }

    private func failureTable(_ terminal: Terminal) -> String {
        var table = Table(["LAST FAILURES", ""])
        for record in lastFailures {
            // A failure that lasts is a problem, and its line is above.
            let isTold = problems.contains { $0.text == record.text }
            let text = isTold ? "\(record.consumer), \(record.peer): \(record.reason), as above" : record.text
            table.add([Table.Cell(instant(record.time)), Table.Cell(text)])
        }
        return table.text(on: terminal)
    }
}

extension ServiceReport.Credentials {
    /// Days left of each certificate, first to expire first; then the trusted peers.
    fileprivate var lines: [[Table.Cell]] {
        guard inForce else { return [["", Table.Cell(problem.isEmpty ? summary : problem)]] }
        var lines = certificates.map { certificate in
            [
                Self.daysLeft(certificate.daysLeft, isNear: Self.isNear(certificate)),
                Table.Cell("\(certificate.subject) by \(certificate.issuer), \(certificate.file)"),
            ]
        }
        if let revocation {
            let days =
                revocation.daysLeft.map { Self.daysLeft($0, isNear: $0 <= ServiceReport.revocationWarningDays) } ?? ""
            lines.append([days, Table.Cell("revocation lists of \(revocation.file): \(revocation.lists)")])
        }
        let trusted = [(authorities, "trusted authorities"), (pins, "pinned peers")].filter { $0.0 > 0 }
        return lines + [["", Table.Cell(trusted.map { "\($0.1): \($0.0)" }.joined(separator: ", "))]]
    }

    private static func isNear(_ certificate: ServiceReport.Certificate) -> Bool {
        let notAfter = Int64(certificate.notAfter)
        return CertificateExpiry.isNear(
            notBefore: Int64(certificate.notBefore), notAfter: notAfter,
            now: notAfter &- Int64(certificate.daysLeft) &* 86_400)
    }

    private static func daysLeft(_ days: Int, isNear: Bool) -> Table.Cell {
        Table.Cell(days < 0 ? "expired" : "\(days)", days < 0 ? .bad : isNear ? .warning : .good)
    }
}
