/// The daemon's figures as OpenMetrics text (OpenMetrics 1.0).
package enum Metrics {
    /// The answer to `metrics`.
    package static func text(_ report: ServiceReport, _ history: HandshakeHistory) -> String {
        var lines = family("tlshd_build", "info", "The version that runs.")
        lines.append("tlshd_build_info{version=\(quoted(report.version))} 1")
        lines += family("tlshd_handshakes", "counter", "Handshakes that have ended.")
        for count in report.counts {
            let reason = count.reason.isEmpty ? "none" : count.reason
            lines.append(
                "tlshd_handshakes_total{consumer=\(quoted(count.consumer)),result=\(quoted(count.result)),"
                    + "reason=\(quoted(reason))} \(count.count)")
        }
        lines += family("tlshd_handshake_duration_seconds", "histogram", "From acceptance to the end.", unit: "seconds")
        var total = 0
        for (index, count) in history.buckets.enumerated() {
            total += count
            let bounds = HandshakeHistory.bounds
            let bound = index < bounds.count ? seconds(bounds[index]) : "+Inf"
            lines.append("tlshd_handshake_duration_seconds_bucket{le=\(quoted(bound))} \(total)")
        }
        lines.append("tlshd_handshake_duration_seconds_sum \(seconds(history.milliseconds))")
        lines.append("tlshd_handshake_duration_seconds_count \(total)")
        lines += family("tlshd_handshakes_in_flight", "gauge", "Handshakes under way.")
        lines.append("tlshd_handshakes_in_flight \(report.inFlight)")
        lines += family("tlshd_workers_ready", "gauge", "Workers that take handshakes.")
        lines.append("tlshd_workers_ready \(report.workers.ready)")
        lines += family("tlshd_worker_restarts", "counter", "Workers that died and were replaced.")
        lines.append("tlshd_worker_restarts_total \(report.workers.deaths)")
        lines += family("tlshd_signer_restarts", "counter", "Signers that died, or were killed since they hung.")
        lines.append("tlshd_signer_restarts_total \(report.workers.signerDeaths)")
        lines += family("tlshd_problems", "gauge", "What tlshctl status complains about.")
        lines.append("tlshd_problems \(report.problems.count)")
        return lines.joined(separator: "\n") + "\n# EOF\n"
    }

    private static func family(_ name: String, _ type: String, _ help: String, unit: String? = nil) -> [String] {
        ["# TYPE \(name) \(type)"] + (unit.map { ["# UNIT \(name) \($0)"] } ?? []) + ["# HELP \(name) \(help)"]
    }

    /// In OpenMetrics' canonical form: 1500 milliseconds are 1.5, 2000 are 2.0.
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
