/// Metrics of the daemon for monitoring.
package struct Metrics {
    /// Output format.
    package enum Format: Sendable {
        /// OpenMetrics 1.0, the answer to `metrics`.
        case openMetrics
        /// Prometheus text format 0.0.4, for files. node_exporter rejects a file with a type that this format lacks
        /// (`info`), and identifies a counter by the name of its samples only.
        case prometheus
    }

    private enum Kind: String {
        case info
        case counter
        case gauge
        case histogram
    }

    private let format: Format
    private var lines: [String] = []

    private init(_ format: Format) {
        self.format = format
    }

    /// Formats all metrics.
    package static func text(
        _ report: ServiceReport, _ history: HandshakeHistory, as format: Format = .openMetrics
    ) -> String {
        var metrics = Metrics(format)
        metrics.addHandshakes(report, history)
        metrics.addPenalties(report)
        metrics.addProcesses(report)
        metrics.addCredentials(report)
        if format == .openMetrics { metrics.lines.append("# EOF") }
        return metrics.lines.joined(separator: "\n") + "\n"
    }

    private mutating func addHandshakes(_ report: ServiceReport, _ history: HandshakeHistory) {
        family("tlshd_build", .info, "Version of the running daemon.")
        sample("tlshd_build_info", [("version", report.version)], 1)
        family("tlshd_handshakes", .counter, "Handshakes that have ended.")
        for count in report.counts {
            let reason = count.reason.isEmpty ? "none" : count.reason
            sample(
                "tlshd_handshakes_total",
                [("consumer", count.consumer), ("result", count.result), ("reason", reason)], count.count)
        }
        family("tlshd_handshake_duration_seconds", .histogram, "Time from ACCEPT to the result.", unit: "seconds")
        var total = 0
        for (index, count) in history.buckets.enumerated() {
            total += count
            let bounds = HandshakeHistory.bounds
            let bound = index < bounds.count ? Self.seconds(bounds[index]) : "+Inf"
            sample("tlshd_handshake_duration_seconds_bucket", [("le", bound)], total)
        }
        lines.append("tlshd_handshake_duration_seconds_sum \(Self.seconds(history.milliseconds))")
        sample("tlshd_handshake_duration_seconds_count", [], total)
        family("tlshd_handshakes_in_flight", .gauge, "Handshakes in progress.")
        sample("tlshd_handshakes_in_flight", [], report.inFlight)
        family(
            "tlshd_limit_refusals", .counter, "Handshakes refused or evicted because a limit in [limits] was reached.")
        for limit in report.limits {
            sample("tlshd_limit_refusals_total", [("limit", limit.name), ("action", "refused")], limit.refused)
            sample("tlshd_limit_refusals_total", [("limit", limit.name), ("action", "evicted")], limit.evicted)
        }
    }

    private mutating func addPenalties(_ report: ServiceReport) {
        family("tlshd_peers_refused", .gauge, "Peers that are refused for a time, as they cost too much; 32 at most.")
        sample("tlshd_peers_refused", [], report.penalties.count)
        family("tlshd_penalty_refusals", .counter, "Handshakes that were refused to peers that had cost too much.")
        sample("tlshd_penalty_refusals_total", [], report.penaltyRefusals)
    }

    private mutating func addProcesses(_ report: ServiceReport) {
        family("tlshd_workers_ready", .gauge, "Workers that accept handshakes.")
        sample("tlshd_workers_ready", [], report.workers.ready)
        family("tlshd_worker_restarts", .counter, "Workers that died and were replaced.")
        sample("tlshd_worker_restarts_total", [], report.workers.deaths)
        family("tlshd_worker_replacements", .counter, "Workers that were replaced as [workers] in tlshd.conf(5) says.")
        sample("tlshd_worker_replacements_total", [], report.workers.replaced)
        family(
            "tlshd_psk_identities", .counter, "Identities whose PSKs workers were given, counted for each worker.")
        sample("tlshd_psk_identities_total", [], report.workers.identities)
        family("tlshd_signer_restarts", .counter, "Signers that died or could not be started, and were replaced.")
        sample("tlshd_signer_restarts_total", [], report.workers.signerDeaths)
        family("tlshd_log_lines_dropped", .counter, "Log lines dropped.")
        sample("tlshd_log_lines_dropped_total", [], report.linesDropped)
        family("tlshd_control_refusals", .counter, "Refused requests on the control socket.")
        for refusal in report.controlRefusals {
            sample("tlshd_control_refusals_total", [("reason", refusal.reason)], refusal.count)
        }
        family("tlshd_problems", .gauge, "Problems reported by tlshctl status.")
        sample("tlshd_problems", [], report.problems.count)
    }

    private mutating func addCredentials(_ report: ServiceReport) {
        let owners = report.credentials.map { entry in
            (entry, [("profile", entry.profile.isEmpty ? "default" : entry.profile), ("role", entry.role)])
        }
        family("tlshd_credentials_in_force", .gauge, "1 if a role has usable credentials, else 0.")
        // A role that is not configured has no series.
        for (entry, labels) in owners where entry.inForce || !entry.problem.isEmpty {
            sample("tlshd_credentials_in_force", labels, entry.inForce ? 1 : 0)
        }
        family("tlshd_trusted_authorities", .gauge, "Entries of the trust store.")
        for (entry, labels) in owners { sample("tlshd_trusted_authorities", labels, entry.authorities) }
        for (name, help, time) in [
            ("before", "Start of the validity of a certificate that the daemon presents.", \.notBefore),
            ("after", "Expiry of a certificate that the daemon presents.", \.notAfter),
        ] as [(String, String, KeyPath<ServiceReport.Certificate, Int>)] {
            let name = "tlshd_certificate_not_\(name)_timestamp_seconds"
            family(name, .gauge, help, unit: "seconds")
            for (entry, labels) in owners {
                var seen: Set<[String]> = []
                // Sorted by expiry; each series may occur only once.
                for certificate in entry.certificates
                where seen.insert([certificate.file, certificate.subject]).inserted {
                    sample(
                        name, labels + [("file", certificate.file), ("subject", certificate.subject)],
                        certificate[keyPath: time])
                }
            }
        }
        let update = "tlshd_revocation_list_next_update_timestamp_seconds"
        family(update, .gauge, "Earliest nextUpdate of the revocation lists.", unit: "seconds")
        for (entry, labels) in owners {
            guard let revocation = entry.revocation, let next = revocation.nextUpdate else { continue }
            sample(update, labels + [("file", revocation.file)], next)
        }
    }

    private mutating func family(_ name: String, _ kind: Kind, _ help: String, unit: String? = nil) {
        switch format {
        case .openMetrics:
            lines.append("# TYPE \(name) \(kind.rawValue)")
            if let unit { lines.append("# UNIT \(name) \(unit)") }
            lines.append("# HELP \(name) \(help)")
        case .prometheus:
            let (name, kind): (String, Kind) =
                switch kind {
                case .info: (name + "_info", .gauge)
                case .counter: (name + "_total", .counter)
                case .gauge, .histogram: (name, kind)
                }
            lines.append("# HELP \(name) \(help)")
            lines.append("# TYPE \(name) \(kind.rawValue)")
        }
    }

    private mutating func sample(_ name: String, _ labels: [(name: String, value: String)], _ value: Int) {
        let text = labels.map { "\($0.name)=\(Self.quoted($0.value))" }.joined(separator: ",")
        lines.append("\(name)\(labels.isEmpty ? "" : "{\(text)}") \(value)")
    }

    /// Canonical form of OpenMetrics: 1500 milliseconds are 1.5, 2000 are 2.0.
    private static func seconds(_ milliseconds: Int) -> String {
        var digits = String(milliseconds % 1000)
        digits = String(repeating: "0", count: 3 - digits.count) + digits
        while digits.count > 1, digits.hasSuffix("0") { digits.removeLast() }
        return "\(milliseconds / 1000).\(digits)"
    }

    private static func quoted(_ text: String) -> String {
        let escaped = text.map { character in
            switch character {
            case "\\": "\\\\"
            case "\"": "\\\""
            case "\n": "\\n"
            default: String(character)
            }
        }
        return "\"" + escaped.joined() + "\""
    }
}
