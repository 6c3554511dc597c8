internal import Broker
internal import FoundationEssentials
internal import Handshake
internal import System
internal import TLS

/// `check --peer HOST --certificate FILE`: whether a certificate is for a host, by the engine's own comparison, and
/// why.
struct PeerCheck: Encodable {
    private struct Name: Encodable {
        let name: String
        let matches: Bool
        let reason: String
    }

    private let peer: String
    private let file: String
    private let matches: Bool
    /// Why it would be refused although it is for the host.
    private let warnings: [String]
    private let names: [Name]
    private let certificate: CertificateReport

    init(_ peer: String, path: String) throws {
        let list: CertificateList
        do {
            list = try CertificateList(file: SealedCopy(of: path).descriptor, path: path)
        } catch let error as SystemError {
            throw Self.complain(error.description, SystemError.denied.contains(error.number) ? .unavailable : .failure)
        } catch let error as CredentialsError {
            throw Self.complain(error.description, .failure)
        }
        guard let leaf = list.facts.first else { throw Self.complain("\(path) holds no certificate", .failure) }
        let match = list.match(peer)
        self.peer = match.wanted
        file = path
        matches = match.matches
        names = match.candidates.map { Name(name: $0.name, matches: $0.matches, reason: $0.reason) }
        certificate = CertificateReport(leaf)
        let now = Int64(Date().timeIntervalSince1970)
        var warnings: [String] = []
        if leaf.notAfter >= 0, leaf.notAfter < now { warnings.append("it expired on \(dateText(leaf.notAfter))") }
        if leaf.notBefore > now { warnings.append("it is valid only from \(dateText(leaf.notBefore)) on") }
        if let problem = list.purposeProblem(as: .server) { warnings.append(problem.detail) }
        self.warnings = warnings
    }

    private static func complain(_ text: String, _ status: ExitStatus) -> any Error {
        Output.complain("tlshctl: \(text)")
        return status.code
    }

    private var headline: String {
        guard matches else {
            let carried = names.isEmpty ? "no name at all" : names.map(\.name).joined(separator: ", ")
            return
                "FAILED: \(certificate.subject) is not for \(peer): it carries \(carried); remedy: mount by a name or address "
                + "that it carries, or reissue it with \(peer) as subjectAltName"
        }
        let by = names.first { $0.matches }.map { " (\($0.name))" } ?? ""
        guard let warning = warnings.first else { return "ok: \(certificate.subject) is for \(peer)\(by)" }
        return "FAILED: \(certificate.subject) is for \(peer)\(by), but \(warning)"
    }

    func show(on output: Output) throws {
        try output.show(self) { terminal in
            let isGood = matches && warnings.isEmpty
            var text = terminal.styled(Table.printable(headline), isGood ? .good : .bad) + "\n\n"
            var table = Table(["NAME", "", "WHY"], indent: 2)
            for name in names {
                table.add([
                    Table.Cell(name.name), Table.Cell(name.matches ? "matches" : "no", name.matches ? .good : nil),
                    Table.Cell(name.reason),
                ])
            }
            text += table.text(on: terminal)
            return text
        }
        try (matches && warnings.isEmpty ? ExitStatus.success : .failure).finish()
    }
}

/// A certificate as JSON shows it.
struct CertificateReport: Encodable {
    let subject: String
    let issuer: String
    let serial: String
    let notBefore: Date
    let notAfter: Date?
    let names: [String]
    let key: String
    let signature: String
    let purposes: [String]
    let isAuthority: Bool
    let sha256: String

    init(_ facts: InspectedCertificate) {
        subject = facts.subject
        issuer = facts.issuer
        serial = facts.serial
        notBefore = Date(timeIntervalSince1970: TimeInterval(facts.notBefore))
        notAfter = facts.notAfter < 0 ? nil : Date(timeIntervalSince1970: TimeInterval(facts.notAfter))
        names = facts.names
        key = facts.key
        signature = facts.signature
        purposes = facts.purposes
        isAuthority = facts.isAuthority
        sha256 = facts.fingerprint
    }
}
