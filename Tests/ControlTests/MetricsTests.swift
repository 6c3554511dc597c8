import Foundation
import Handshake
import Policy
import TestSupport
import Testing

@testable import Control

@Suite struct MetricsTests {
    /// Reads figures from its input with the reference parser of their format, and prints each sample.
    private static let reader = """
        import importlib, sys
        parse = importlib.import_module(sys.argv[1]).text_string_to_metric_families
        for family in parse(sys.stdin.read()):
            for sample in family.samples:
                labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
                print(family.type, sample.name, labels, float(sample.value))
        """

    private func samples(_ text: String, as format: Metrics.Format = .openMetrics) throws -> [String] {
        let parser = "prometheus_client\(format == .openMetrics ? ".openmetrics" : "").parser"
        return try Command.run(["/usr/bin/python3", "-c", Self.reader, parser], input: text).split(separator: "\n")
            .map(String.init)
    }

    /// A report in which every figure occurs.
    static func full() -> (ServiceReport, HandshakeHistory) {
        var history = HandshakeHistory()
        history.add(record(milliseconds: 2))
        history.add(record(milliseconds: 3))
        history.add(record(.certificateExpired, milliseconds: 20_000))
        var report = healthy()
        report.inFlight = 4
        report.workers.deaths = 5
        report.workers.signerDeaths = 6
        report.linesDropped = 7
        var penalties = Penalties()
        for address in ["192.0.2.7:700", "[2001:db8::1]:700"] {
            _ = penalties.punish(PeerGroup(socketAddress: address), for: .workerKilled, now: 0)
        }
        report.penalties = penalties.current(0).map { .init($0, now: 0) }
        report.penaltyRefusals = 11
        report.limits = [.init(name: "handshakes", evicted: 8, refused: 9)]
        report.controlRefusals = [.init(reason: "tooLong", count: 10)]
        report.credentials = [credentials(), credentials()]
        report.credentials[1].profile = ""
        report.credentials[1].inForce = false
        report.credentials[1].problem = "broken"
        report.credentials[1].revocation = nil
        // Another pair with the same name in the same file.
        report.credentials[0].certificates.append(report.credentials[0].certificates[0])
        // One that nobody set up.
        report.credentials.append(.init(profile: "", role: "server", inForce: false, summary: "none", problem: ""))
        report.conclude(history, known: [], now: 1000)
        return (report, history)
    }

    @Test("The reference parser reads every figure as it is meant")
    func figures() throws {
        let (report, history) = Self.full()
        let samples = try samples(Metrics.text(report, history))
        for line in [
            "info tlshd_build_info version=1 1.0",
            "counter tlshd_handshakes_total consumer=NFS client,reason=none,result=success 2.0",
            "counter tlshd_handshakes_total consumer=NFS client,reason=certificateExpired,result=failure 1.0",
            "histogram tlshd_handshake_duration_seconds_bucket le=0.002 1.0",
            "histogram tlshd_handshake_duration_seconds_bucket le=0.005 2.0",
            "histogram tlshd_handshake_duration_seconds_bucket le=0.01 2.0",
            "histogram tlshd_handshake_duration_seconds_bucket le=10.0 2.0",
            "histogram tlshd_handshake_duration_seconds_bucket le=+Inf 3.0",
            "histogram tlshd_handshake_duration_seconds_count  3.0",
            "histogram tlshd_handshake_duration_seconds_sum  20.005",
            "gauge tlshd_handshakes_in_flight  4.0", "gauge tlshd_workers_ready  1.0",
            "counter tlshd_worker_restarts_total  5.0", "gauge tlshd_problems  2.0",
            "counter tlshd_signer_restarts_total  6.0", "counter tlshd_log_lines_dropped_total  7.0",
            "gauge tlshd_peers_refused  2.0", "counter tlshd_penalty_refusals_total  11.0",
            "counter tlshd_limit_refusals_total action=evicted,limit=handshakes 8.0",
            "counter tlshd_limit_refusals_total action=refused,limit=handshakes 9.0",
            "counter tlshd_control_refusals_total reason=tooLong 10.0",
            "gauge tlshd_credentials_in_force profile=p,role=client 1.0",
            "gauge tlshd_credentials_in_force profile=default,role=client 0.0",
            "gauge tlshd_trusted_authorities profile=p,role=client 3.0",
            "gauge tlshd_certificate_not_before_timestamp_seconds file=/etc/c.pem,profile=p,role=client,"
                + "subject=CN=\"c\",O=a\\b -31535000.0",
            "gauge tlshd_certificate_not_after_timestamp_seconds file=/etc/c.pem,profile=p,role=client,"
                + "subject=CN=\"c\",O=a\\b 8641000.0",
            "gauge tlshd_revocation_list_next_update_timestamp_seconds file=/etc/crl.pem,profile=p,role=client 4321000.0",
        ] { #expect(samples.contains(line), "\(line) in \(samples)") }
        #expect(!samples.contains { $0.contains("tlshd_credentials_in_force") && $0.contains("role=server") })
    }

    @Test("Without a handshake there are figures, too")
    func empty() throws {
        let samples = try samples(Metrics.text(healthy(), HandshakeHistory()))
        #expect(samples.contains("histogram tlshd_handshake_duration_seconds_count  0.0"))
    }

    /// What node_exporter and Prometheus' own text parser refuse, or take for something else, which the reference
    /// parser lets pass.
    @Test("In a file they are the older format: its types alone, each by the name of its samples, and the same figures")
    func file() throws {
        let (report, history) = Self.full()
        let text = Metrics.text(report, history, as: .prometheus)
        var types: [String: String] = [:]
        for line in text.split(separator: "\n", omittingEmptySubsequences: false).dropLast() {
            let words = line.split(separator: " ").map(String.init)
            guard line.hasPrefix("#") else {
                let name = String(line.prefix { $0 != "{" && $0 != " " })
                let family = ["_bucket", "_sum", "_count"].map {
                    name.hasSuffix($0) ? String(name.dropLast($0.count)) : name
                }
                #expect(types[name] != nil || family.contains { types[$0] == "histogram" }, "\(line)")
                continue
            }
            #expect(["HELP", "TYPE"].contains(words[1]), "\(line)")
            guard words[1] == "TYPE" else { continue }
            #expect(["counter", "gauge", "histogram"].contains(words[3]) && words.count == 4)
            #expect(types.updateValue(words[3], forKey: words[2]) == nil, "\(words[2]) twice")
        }
        #expect(types["tlshd_build_info"] == "gauge" && types["tlshd_handshakes_total"] == "counter")
        #expect(text.hasSuffix("\n"))
        let values = try samples(text, as: .prometheus).map { $0.drop { $0 != " " } }
        #expect(try values.sorted() == samples(Metrics.text(report, history)).map { $0.drop { $0 != " " } }.sorted())
    }
}
