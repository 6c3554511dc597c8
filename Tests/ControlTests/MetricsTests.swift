import Foundation
import Handshake
import Testing

@testable import Control

@Suite struct MetricsTests {
    /// Reads OpenMetrics from its input with the reference parser, strict as it is, and prints each sample.
    private static let reader = """
        import sys
        from prometheus_client.openmetrics.parser import text_string_to_metric_families
        for family in text_string_to_metric_families(sys.stdin.read()):
            for sample in family.samples:
                labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
                print(family.type, sample.name, labels, float(sample.value))
        """

    private func samples(_ text: String) throws -> [String] {
        let process = Process()
        let (input, output) = (Pipe(), Pipe())
        process.executableURL = URL(fileURLWithPath: "/usr/bin/python3")
        process.arguments = ["-c", Self.reader]
        process.standardInput = input
        process.standardOutput = output
        try process.run()
        input.fileHandleForWriting.write(Data(text.utf8))
        try input.fileHandleForWriting.close()
        let read = output.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        #expect(process.terminationStatus == 0, "the reference parser refuses:\n\(text)")
        return String(decoding: read, as: UTF8.self).split(separator: "\n").map(String.init)
    }

    @Test("The reference parser reads every figure as it is meant")
    func figures() throws {
        var history = HandshakeHistory()
        history.add(record(milliseconds: 2))
        history.add(record(milliseconds: 3))
        history.add(record(.certificateExpired, milliseconds: 20_000))
        var report = healthy()
        report.inFlight = 4
        report.workers.deaths = 5
        report.workers.signerDeaths = 3
        report.conclude(history, known: [], now: 1000)
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
            "counter tlshd_worker_restarts_total  5.0", "counter tlshd_signer_restarts_total  3.0",
            "gauge tlshd_problems  1.0",
        ] { #expect(samples.contains(line), "\(line) in \(samples)") }
    }

    @Test("Without a handshake there are figures, too")
    func empty() throws {
        let samples = try samples(Metrics.text(healthy(), HandshakeHistory()))
        #expect(samples.contains("histogram tlshd_handshake_duration_seconds_count  0.0"))
    }
}
