internal import FoundationEssentials
internal import Handshake
internal import X509

/// Verdict on one aspect of the peer.
struct ProbeVerdict: Encodable {
    let aspect: String
    let status: Status
    let text: String

    init(aspect: String, isGood: Bool, text: String) {
        self.aspect = aspect
        status = isGood ? .ok : .failed
        self.text = text
    }
}

/// Result of a probe.
struct ProbeReport: Report {
    let target: String
    @OrNull var address: String? = nil
    @OrNull var name: String? = nil
    /// Protocol exchange before TLS.
    @OrNull var opening: String? = nil
    @OrNull var profile: String? = nil
    @OrNull var mode: Mode? = nil
    /// Subject of the certificate that was presented to the peer.
    @OrNull var presented: String? = nil
    /// Result of the probe for a mount with mutual TLS.
    @OrNull var outlook: String? = nil
    @OrNull var identity: String? = nil
    @OrNull var keyOrigin: String? = nil
    @OrNull var suite: String? = nil
    @OrNull var group: String? = nil
    @OrNull var applicationProtocol: String? = nil
    @OrNull var alertSent: String? = nil
    @OrNull var alertReceived: String? = nil
    @OrNull var milliseconds: Int? = nil
    var verdicts: [ProbeVerdict] = []
    var certificates: [CertificateReport] = []
    var notes: [String] = []
    /// Name of the failure reason, as TLSHD_REASON in tlshd's log; `nil` if no handshake failed.
    @OrNull var reason: String? = nil
    /// Problem and remedy; `nil` on success.
    @OrNull var problem: String? = nil
    @OrNull var remedy: String? = nil
    /// Problem that will occur soon.
    @OrNull var warning: String? = nil
    /// True if the peer could not be reached.
    var isUnreachable = false

    var status: Status {
        if problem != nil { return isUnreachable ? .unknown : .failed }
        return warning == nil ? .ok : .warning
    }

    mutating func fail(_ failure: HandshakeFailure, remedy other: String? = nil) {
        let row = failure.reason.row
        reason = "\(failure.reason)"
        problem = row.explanation + (failure.detail.isEmpty ? "" : " (\(failure.detail))")
        remedy = other ?? Self.remedy(of: row)
    }

    /// Remedy of a failure table's row without the advice to run the command that prints it.
    private static func remedy(of row: FailureRow) -> String {
        row.remedy.split(separator: "; ").filter { !$0.contains("tlshctl probe") }.joined(separator: "; ")
    }

    private var peer: String {
        guard let address else { return target }
        return "\(target) (\(address))"
    }

    var summary: String {
        if let problem { return "\(peer): \(problem); remedy: \(remedy ?? "see tlshctl check")" }
        let isAnonymous = presented == nil && identity == nil
        let parts = [
            isAnonymous ? nil : mode?.rawValue, suite, group, applicationProtocol.map { "ALPN \($0)" },
            identity.map { "identity \"\($0)\"" },
            certificates.first.map { "peer \($0.subject)" }, milliseconds.map { "\($0) ms" },
        ]
        var text = "TLS with \(peer) works\(isAnonymous ? " without a certificate" : ""): "
        text += parts.compactMap(\.self).joined(separator: ", ")
        if isAnonymous, let outlook { text += "; \(outlook)" }
        return warning.map { "\($0); \(text)" } ?? text
    }

    func text(on terminal: Terminal) -> String {
        var text = headline(terminal) + "\n"
        var facts = Table(indent: 2)
        let rows: [(String, String?)] = [
            ("address", address), ("verified name", name), ("before TLS", opening), ("profile", profile),
            ("mode", mode?.rawValue),
            ("presented", presented ?? (milliseconds != nil && identity == nil ? "no certificate" : nil)),
            ("identity", identity), ("key from", keyOrigin), ("suite", suite), ("group", group),
            ("ALPN", applicationProtocol), ("alert sent", alertSent), ("alert received", alertReceived),
        ]
        for (title, value) in rows {
            if let value { facts.add([Table.Cell(title, .dim), Table.Cell(value)]) }
        }
        if !facts.isEmpty { text += "\n" + facts.text(on: terminal) }
        var judged = Table(indent: 2)
        for verdict in verdicts {
            judged.add([
                Table.Cell(verdict.status.label, verdict.status.style), Table.Cell(verdict.aspect),
                Table.Cell(verdict.text),
            ])
        }
        if !judged.isEmpty { text += "\n" + terminal.styled("verdicts", .bold) + "\n" + judged.text(on: terminal) }
        for (index, certificate) in certificates.enumerated() { text += certificate.text(index, on: terminal) }
        if !notes.isEmpty { text += "\n" + notes.map { "note: \(Table.printable($0))\n" }.joined() }
        return text
    }
}

extension CertificateReport {
    /// Formats an entry of a chain.
    func text(_ index: Int, on terminal: Terminal) -> String {
        var table = Table(indent: 2)
        let rows: [(String, String)] = [
            ("issuer", issuer), ("valid", "\(Self.day(notBefore)) to \(notAfter.map(Self.day) ?? "an unknown date")"),
            ("names", names.joined(separator: ", ")), ("purposes", purposes.joined(separator: ", ")),
            ("key", "\(key); signed with \(signature ?? "an unknown algorithm")"), ("sha256", sha256),
        ]
        for (title, value) in rows where !value.isEmpty { table.add([Table.Cell(title, .dim), Table.Cell(value)]) }
        let head = "certificate \(index): \(subject)"
        return "\n" + terminal.styled(Table.printable(head), .bold) + "\n" + table.text(on: terminal)
    }

    private static func day(_ date: Date) -> String { dateText(Int64(date.timeIntervalSince1970)) }
}
