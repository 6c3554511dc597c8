internal import FoundationEssentials
internal import Handshake
internal import Inspect
internal import System
internal import TLS
internal import Unconfined
internal import Wire
internal import X509

/// A handshake with the daemon's engine on a connection of our own. The keys are never used.
struct ProbeRun {
    /// Parameters of the handshake.
    struct Plan {
        var peerName: String?
        var credentials: Credentials?
        var presentsCertificate = false
        /// Rules for the peer.
        var rules = PeerRules()
        /// Limits of the negotiation.
        var limits = NegotiationLimits()
        var verifiesByPin = false
    }

    let connection: Connection
    let environment: TLSEnvironment

    /// Runs with certificates.
    func run(_ plan: Plan, into report: inout ProbeReport, _ progress: inout Progress) throws {
        let job = HandshakeJob(
            id: 1, role: .client, authentication: plan.presentsCertificate ? .x509 : .unauthenticated,
            deadline: connection.deadline, peerName: plan.peerName, limits: plan.limits)
        try run(job, secrets: SecretBuffer(capacity: 1), plan, into: &report, &progress)
    }

    /// Runs with a PSK.
    func run(
        _ identity: borrowing ProbeIdentity, within limits: NegotiationLimits, into report: inout ProbeReport,
        _ progress: inout Progress
    ) throws {
        var job = HandshakeJob(
            id: 1, role: .client, authentication: .preSharedKey, deadline: connection.deadline, limits: limits)
        job.preSharedKeys = [PreSharedKeyField(identity: identity.identity, key: SecretRange(0..<identity.length))]
        try run(job, secrets: identity.key, Plan(), into: &report, &progress)
    }

    private func run(
        _ job: HandshakeJob, secrets: borrowing SecretBuffer, _ plan: Plan, into report: inout ProbeReport,
        _ progress: inout Progress
    ) throws {
        let start = Clock.monotonicNanoseconds()
        let session: HandshakeSession
        do throws(HandshakeFailure) {
            session = try HandshakeSession(
                job, secrets: secrets, socket: connection.socket, environment: environment,
                credentials: plan.credentials,
                findKey: { _, _ in .unknown }, log: SessionLog(upTo: 0) { _, _ in })
        } catch {
            report.fail(error)
            return
        }
        // No consumer waits for this connection, so a longer wait is possible.
        session.minimumVerdictTimeout = 1_000_000_000
        session.awaitsVerdictWithoutCertificate = true
        let outcome = drive(session, &progress)
        // The wait for a refusal, which may follow, is not a part of the handshake.
        report.milliseconds = Int(((session.completedAt ?? Clock.monotonicNanoseconds()) - start) / 1_000_000)
        let presented = session.presentedChain.map(PresentedCertificate.init)
        report.presented = presented?.subject
        switch outcome {
        case .success(let negotiated):
            report.suite = negotiated.cipherSuite
            report.group = negotiated.group
            let name = negotiated.applicationProtocol
            report.applicationProtocol = name.isEmpty ? nil : name
            if let problem = session.handOverProblem { report.fail(problem) }
            // A server to which our certificate is lost refuses it only at its own deadline.
            if let failure = StreamDelivery(of: connection.socket)?.sendingFailure { report.fail(failure) }
            if plan.presentsCertificate, presented == nil, let own = plan.credentials?.chains.first {
                report.outlook = "the server did not ask for \(own.leaf.subject)"
            }
        case .failure(let failure): report.fail(failure)
        }
        if let alert = session.alertReceived, report.reason == "\(FailureReason.alertReceived)" {
            report.remedy = AlertRemedy.text(alert, presented)
        }
        report.notes += session.result(elapsed: .zero).remarks
        if plan.presentsCertificate { report.notes += plan.credentials?.smallKeys ?? [] }
        report.alertSent = session.alertSent?.name
        report.alertReceived = session.alertReceived?.name
        if let credentials = plan.credentials, let chain = session.peerCertificates {
            ProbeJudgement(chain, credentials, plan).describe(in: &report)
        }
    }

    /// Runs the handshake to its end, at the latest to the deadline.
    private func drive(
        _ session: HandshakeSession, _ progress: inout Progress
    ) -> Result<NegotiatedSession, HandshakeFailure> {
        while true {
            switch session.step() {
            case .finished(let negotiated): return .success(negotiated)
            case .failed(let failure): return .failure(failure)
            case .wants(let interest, let until):
                if !connection.wait(for: interest, until: until, &progress) {
                    let delivery = StreamDelivery(of: connection.socket)
                    session.abort(
                        delivery?.explainTimeout(isAnswered: session.hasReceived) ?? HandshakeFailure(.deadlineExceeded)
                    )
                }
            }
        }
    }
}

/// All verdicts on a peer's certificates, not only the first that stops a handshake.
struct ProbeJudgement {
    private let chain: CertificateList
    private let credentials: Credentials
    private let plan: ProbeRun.Plan

    init(_ chain: CertificateList, _ credentials: Credentials, _ plan: ProbeRun.Plan) {
        self.chain = chain
        self.credentials = credentials
        self.plan = plan
    }

    func describe(in report: inout ProbeReport) {
        let facts = chain.facts
        report.certificates = facts.map(CertificateReport.init)
        guard let leaf = facts.first else { return }
        // Digests replace chain and name.
        if !plan.verifiesByPin {
            judgeChain(in: &report)
            if let name = plan.peerName { judge(name, leaf, in: &report) }
        }
        if plan.rules != PeerRules() { judgeByRules(in: &report) }
        let purpose = chain.purposeProblem(as: .server)
        report.verdicts.append(
            ProbeVerdict(
                aspect: "purpose", isGood: purpose == nil,
                text: purpose.map(\.detail) ?? (leaf.purposes.isEmpty ? "any" : leaf.purposes.joined(separator: ", "))))
        let now = Int64(Date().timeIntervalSince1970)
        if report.problem == nil, leaf.notAfter >= 0,
            CertificateExpiry.isNear(notBefore: leaf.notBefore, notAfter: leaf.notAfter, now: now)
        {
            let left = ((leaf.notAfter - now) / 86_400).counted("day")
            report.warning = "the peer's certificate expires on \(dateText(leaf.notAfter)), in \(left)"
        } else if report.problem == nil, let purpose {
            report.warning = "the peer's certificate is not made for a server: \(purpose.detail)"
        } else if report.problem == nil, let small = credentials.remarks(on: chain).first {
            report.warning = "a key of the peer's chain is small: \(small)"
        }
    }

    private func judgeChain(in report: inout ProbeReport) {
        let problems = credentials.problems(with: chain)
        for problem in problems {
            report.verdicts.append(
                ProbeVerdict(
                    aspect: "chain", isGood: false, text: "\(problem.reason.row.explanation) (\(problem.detail))"))
        }
        if problems.isEmpty {
            report.verdicts.append(
                ProbeVerdict(aspect: "chain", isGood: true, text: "complete, in date, from a trusted authority"))
        }
    }

    private func judge(_ name: String, _ leaf: InspectedCertificate, in report: inout ProbeReport) {
        let match = chain.match(name)
        let carried = leaf.names.isEmpty ? "no subjectAltName" : leaf.names.joined(separator: ", ")
        let by = match.candidates.first { $0.matches }?.name ?? "nothing"
        report.verdicts.append(
            ProbeVerdict(
                aspect: "name", isGood: match.matches,
                text: match.matches ? "\(match.wanted) is \(by)" : "\(match.wanted) is not among \(carried)"))
    }

    /// Applies the rules of the settings: digests, allowed names, and RFC 9289's purpose.
    private func judgeByRules(in report: inout ProbeReport) {
        let verdict: ProbeVerdict
        do throws(HandshakeFailure) {
            let remarks = try chain.judge(by: plan.rules, as: .server)
            verdict = ProbeVerdict(
                aspect: "rules", isGood: true,
                text: remarks.isEmpty ? "the settings' rules let it in" : remarks.joined(separator: "; "))
        } catch {
            verdict = ProbeVerdict(
                aspect: "rules", isGood: false, text: "\(error.reason.row.explanation) (\(error.detail))")
        }
        report.verdicts.append(verdict)
    }
}
