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

    /// From harmless to serious.
    enum Severity: String, Sendable, Encodable, CaseIterable, Comparable {
        case good
        /// Information.
        case notice
        /// It works now, but not permanently or not for every peer.
        case warning
        /// The check could not be made.
        case unknown
        /// Handshakes fail, or cannot take place.
        case failure

        static func < (left: Severity, right: Severity) -> Bool {
            allCases.firstIndex(of: left) ?? 0 < allCases.firstIndex(of: right) ?? 0
        }

        /// Prefix of the line.
        var label: String {
            switch self {
            case .good: "ok"
            case .notice: "note"
            case .warning: "WARNING"
            case .unknown: "UNKNOWN"
            case .failure: "FAILED"
            }
        }

        var style: Style? {
            switch self {
            case .good: .good
            case .notice: nil
            case .warning, .unknown: .warning
            case .failure: .bad
            }
        }

        var status: ExitStatus {
            switch self {
            case .good, .notice: .success
            case .warning: .warning
            case .unknown: .unavailable
            case .failure: .failure
            }
        }
    }

    let area: Area
    let severity: Severity
    let text: String
    /// Action for the operator.
    let remedy: String?

    init(_ area: Area, _ severity: Severity, _ text: String, remedy: String? = nil) {
        self.area = area
        self.severity = severity
        self.text = text
        self.remedy = remedy
    }

    /// Text and remedy in one line.
    var line: String { text + (remedy.map { "; remedy: \($0)" } ?? "") }
}

/// All results of `check`.
struct CheckReport: Sendable, Encodable {
    let findings: [Finding]

    /// The first finding of the highest severity.
    var worst: Finding? {
        let gravest = findings.map(\.severity).max()
        return findings.first { $0.severity == gravest }
    }

    var status: ExitStatus { worst?.severity.status ?? .success }

    /// The verdict, which contains the worst problem.
    var headline: String {
        guard let worst, worst.severity > .notice else {
            return "ok: no problems found; \(findings.count) checks made"
        }
        let others = findings.count { $0.severity == worst.severity } - 1
        let more = others > 0 ? " (and \(others) more)" : ""
        return "\(worst.severity.label): \(worst.line)\(more)"
    }

    private enum CodingKeys: String, CodingKey {
        case verdict, worst, findings
    }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(worst?.severity ?? .good, forKey: .verdict)
        try container.encode(headline, forKey: .worst)
        try container.encode(findings, forKey: .findings)
    }

    /// The verdict, followed by the findings by area.
    func text(on terminal: Terminal) -> String {
        let head = Table.printable(headline)
        var text = (worst?.severity.style).map { terminal.styled(head, $0) } ?? head
        text += "\n"
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
