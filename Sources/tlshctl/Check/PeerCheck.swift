internal import Broker
internal import FoundationEssentials
internal import Handshake
internal import Inspect
internal import System
internal import TLS
internal import X509

/// `check --peer HOST --certificate FILE`: checks with the daemon's own comparison if a certificate is for a host, and
/// shows the reason.
struct PeerCheck: Report {
    private struct Name: Encodable {
        let name: String
        let matches: Bool
        let reason: String
    }

    private let peer: String
    private let file: String
    private let matches: Bool
    /// Reasons why the certificate is refused although it is for the host.
    private let problems: [String]
    /// Reasons why stricter peers may refuse it.
    private let warnings: [String]
    private let names: [Name]
    private let certificate: CertificateReport

    init(_ peer: String, path: String) throws {
        let list: CertificateList
        do {
            list = try CertificateList(file: SealedCopy(of: path).descriptor, path: path)
        } catch let error as SystemError {
            throw CommandError(error.description, error.isDenied ? .unknown : .failed)
        } catch let error as TextError {
            throw CommandError(error.description)
        }
        guard let leaf = list.facts.first else { throw CommandError("\(path) holds no certificate") }
        let match = list.match(peer)
        self.peer = match.wanted
        file = path
        matches = match.matches
        names = match.candidates.map { Name(name: $0.name, matches: $0.matches, reason: $0.reason) }
        certificate = CertificateReport(leaf)
        let now = Int64(Date().timeIntervalSince1970)
        var problems: [String] = []
        if leaf.notAfter >= 0, leaf.notAfter < now {
            problems.append("it expired on \(dateText(leaf.notAfter)); remedy: renew it")
        }
        if leaf.notBefore > now {
            problems.append(
                "it is valid only from \(dateText(leaf.notBefore)) on; remedy: check the clock")
        }
        if let problem = list.purposeProblem(as: .server) {
            problems.append(
                "\(problem.detail); remedy: \(problem.reason.row.remedy), or x509.purpose=off on the client")
        }
        problems += [list.signingProblem, list.staplingProblem].compactMap(\.self).map {
            "\($0.text); remedy: \($0.remedy)"
        }
        if let curve = leaf.foreignCurve {
            problems.append(
                "its key is on the curve \(curve), which TLS 1.3 does not have; remedy: reissue it with a key on secp256r1, "
                    + "secp384r1 or secp521r1")
        }
        let small = list.smallKeys(by: PeerRules())
        let remedy = "remedy: reissue it with a key of \(PeerRules.soundRSA) bits or more"
        problems += small.filter(\.isRefused).map { "\($0.text); \(remedy)" }
        self.problems = problems
        warnings = small.filter { !$0.isRefused }.map { "\($0.text); \(remedy)" }
    }

    var summary: String {
        guard matches else {
            let carried = names.isEmpty ? "no name at all" : names.map(\.name).joined(separator: ", ")
            return
                "\(certificate.subject) is not for \(peer): it carries \(carried); remedy: mount by a name or address "
                + "that it carries, or reissue it with \(peer) as subjectAltName"
        }
        let by = names.first { $0.matches }.map { " (\($0.name))" } ?? ""
        let reason = (problems + warnings).first.map { ", but \($0)" } ?? ""
        return "\(certificate.subject) is for \(peer)\(by)\(reason)"
    }

    var status: Status {
        guard matches, problems.isEmpty else { return .failed }
        return warnings.isEmpty ? .ok : .warning
    }

    func text(on terminal: Terminal) -> String {
        var table = Table(["NAME", "", "WHY"], indent: 2)
        for name in names {
            table.add([
                Table.Cell(name.name), Table.Cell(name.matches ? "matches" : "no", name.matches ? .good : nil),
                Table.Cell(name.reason),
            ])
        }
        return headline(terminal) + "\n\n" + table.text(on: terminal)
    }
}

/// A certificate in JSON output.
struct CertificateReport: Encodable {
    let subject: String
    let issuer: String
    let serial: String
    let notBefore: Date
    @OrNull var notAfter: Date?
    let names: [String]
    let key: String
    @OrNull var signature: String?
    let purposes: [String]
    let isAuthority: Bool
    let sha256: String

    init(_ facts: InspectedCertificate) {
        subject = facts.subject
        issuer = facts.issuer
        serial = "0x" + facts.serial
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
