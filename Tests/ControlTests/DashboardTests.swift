import Foundation
import Testing

@testable import Control

/// Dashboard and alerts must ask for figures that there are.
@Suite struct DashboardTests {
    private static let contrib = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appending(path: "contrib")

    /// The name and the labels of every sample.
    private func samples(_ format: Metrics.Format) -> [String: Set<String>] {
        let (report, history) = MetricsTests.full()
        var names: [String: Set<String>] = [:]
        for line in Metrics.text(report, history, as: format).split(separator: "\n") where !line.hasPrefix("#") {
            let labels = line.matches(of: /([a-z]+)="/).map { String($0.output.1) }
            names[String(line.prefix { $0 != "{" && $0 != " " }), default: []].formUnion(labels)
        }
        return names
    }

    /// The figures of ours that a text names.
    private func named(_ text: String) -> Set<String> {
        Set(text.matches(of: /\btlshd_[a-z_]+/).map { String($0.output) })
    }

    private func expressions(_ value: Any) -> [String] {
        switch value {
        case let members as [String: Any]:
            members.flatMap {
                ["expr", "definition"].contains($0.key) ? [$0.value as? String ?? ""] : expressions($0.value)
            }
        case let items as [Any]: items.flatMap(expressions)
        default: []
        }
    }

    @Test("In both formats the samples have the same names and labels")
    func formats() {
        #expect(samples(.openMetrics) == samples(.prometheus))
    }

    @Test("The dashboard is JSON, its figures are ours and by labels that they have, and each of ours is shown")
    func dashboard() throws {
        let data = try Data(contentsOf: Self.contrib.appending(path: "grafana/tlshd.json"))
        let expressions = expressions(try JSONSerialization.jsonObject(with: data))
        #expect(expressions.count > 15)
        let samples = samples(.prometheus)
        for expression in expressions {
            let names = named(expression)
            #expect(!names.isEmpty && names.isSubset(of: samples.keys), "\(expression)")
            let labels = names.reduce(into: Set(["instance"])) { $0.formUnion(samples[$1] ?? []) }
            for group in expression.matches(of: /by \(([a-z, ]+)\)/) {
                let wanted = Set(group.output.1.split(separator: ", ").map(String.init))
                #expect(wanted.isSubset(of: labels), "\(expression)")
            }
        }
        let shown = named(expressions.joined(separator: " "))
        // The start of a certificate's validity is for the alert.
        #expect(
            Set(samples.keys).subtracting(shown)
                == ["tlshd_trusted_authorities", "tlshd_certificate_not_before_timestamp_seconds"])
    }

    @Test("The alerts are about figures of ours")
    func alerts() throws {
        let text = try String(contentsOf: Self.contrib.appending(path: "prometheus/tlshd.rules.yml"), encoding: .utf8)
        let names = named(text)
        #expect(names.count > 4 && names.isSubset(of: samples(.prometheus).keys), "\(names)")
    }
}
