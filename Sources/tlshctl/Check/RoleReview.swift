internal import Broker
internal import Handshake
internal import Inspect
internal import Settings
internal import System
internal import TLS
internal import Wire
internal import X509

/// Reads and checks each file of a role separately, so that a broken file does not hide problems of others.
struct RoleReview {
    private(set) var findings: [Finding] = []
    private let label: String
    private let source: CredentialSource
    private let settings: RoleSettings
    private let days: Int?
    /// Seconds since 1970-01-01T00:00:00Z.
    private let now: Int64
    /// The role's trust store and revocation lists, if they could be loaded.
    private var trust: Credentials?

    init(label: String, source: CredentialSource, settings: RoleSettings, days: Int?, now: Int64) {
        self.label = label
        self.source = source
        self.settings = settings
        self.days = days
        self.now = now
        reviewTrust()
        reviewRevocation()
        for pair in source.pairs {
            reviewPair(source.file(pair.certificate, pair: pair.number), source.file(pair.key, pair: pair.number))
        }
        reviewWhole()
    }

    private mutating func add(_ severity: Status, _ text: String, remedy: String? = nil) {
        add(severity, TextError(text, remedy: remedy))
    }

    private mutating func add(_ severity: Status, _ error: TextError) {
        findings.append(Finding(.credentials, severity, error.introduced(by: "\(label): ")))
    }

    // MARK: Trust store

    private mutating func reviewTrust() {
        trust = read([source.file(.trustStore)].compactMap(\.self), as: .client)
        guard let trust else { return }
        let warning = "WARNING: "
        add(
            trust.summary.hasPrefix(warning) ? .warning : .ok,
            trust.summary.replacing("; no certificate of our own", with: "").replacing(
                warning, with: "", maxReplacements: 1))
        if let warning = source.publicTrust(authorities: Int(trust.facts.authorities)) {
            add(.warning, warning.text, remedy: warning.remedy)
        }
        guard !source.usesSystemTrust, let path = source.path(of: .trustStore), let list = certificates(path) else {
            return
        }
        for facts in list.facts { reviewDates(facts, "the authority", of: path, expired: .warning) }
    }

    private mutating func reviewRevocation() {
        guard let file = source.file(.revocationList) else { return }
        let path = file.path
        guard let revoking = load([file]), let copy = try? SealedCopy(of: file),
            let lists = try? RevocationFacts.read(copy.descriptor, path: path)
        else { return }
        // The lists may contain our own certificate.
        if trust != nil { trust = revoking }
        for list in lists {
            let what = "revocation list \(path) of \(list.issuer)"
            if list.nextUpdate >= 0, list.nextUpdate < now {
                add(
                    .failed, "\(what) expired on \(dateText(list.nextUpdate)): peers of its issuer are refused",
                    remedy: "renew the file")
            } else if list.nextUpdate >= 0, list.nextUpdate < now + 2 * 86_400 {
                add(.warning, "\(what) expires on \(dateText(list.nextUpdate))", remedy: "renew the file")
            } else {
                let age = max(0, now - list.thisUpdate) / 86_400
                let next = list.nextUpdate < 0 ? "" : ", next update \(dateText(list.nextUpdate))"
                add(.ok, "\(what): \(age.counted("day")) old\(next), \(list.revoked) revoked")
            }
        }
    }

    // MARK: Certificates that we present

    private mutating func reviewPair(_ certificate: CredentialFile?, _ key: CredentialFile?) {
        let kinds = [certificate?.kind, key?.kind]
        let isPostQuantum = kinds.contains(.postQuantumCertificate) || kinds.contains(.postQuantumPrivateKey)
        guard !isPostQuantum || GnuTLS.knowsMLDSA else {
            add(
                .warning,
                "the post-quantum pair is not used: this GnuTLS \(GnuTLS.version) was built without ML-DSA",
                remedy: "another GnuTLS, or remove x509.pq from the settings")
            return
        }
        guard let path = certificate?.path else {
            // Reports a key without certificate with the daemon's own message.
            if let key, source.tokenScheme == nil { _ = load([key]) }
            return
        }
        let own = key != nil ? load([certificate, key]) : nil
        guard let list = certificates(path) else { return }
        let chain = own.map { list.starting(with: $0) } ?? list
        guard let leaf = chain.facts.first else { return }
        let serves = own == nil ? "certificate" : "certificate and key"
        reviewDates(leaf, "our own certificate", of: path, expired: .failed)
        add(.ok, "\(serves) \(leaf.subject) of \(path), \(leaf.key), until \(dateText(leaf.notAfter))")
        for (index, facts) in chain.facts.enumerated().dropFirst() {
            // tlshd does not send a root, which peers must have.
            let isRoot = facts.isSelfIssued && index == chain.facts.count - 1
            reviewDates(
                facts, isRoot ? "the root, which is not sent," : "the authority", of: path,
                expired: isRoot ? .note : .failed)
        }
        if let problem = chain.purposeProblem(as: source.owner.role) {
            add(
                .warning, "\(path): \(problem.detail): peers that check it refuse the certificate",
                remedy: problem.reason.row.remedy)
        }
        reviewUse(chain, leaf, path)
        if let problem = own?.lengthProblem {
            add(.warning, "\(path) \(problem)", remedy: "use an issuer closer to the root")
        }
        // If the pair could not be loaded, the reason is already reported.
        for small in chain.smallKeys(by: source.rules) where own != nil || key == nil {
            add(
                small.isRefused ? .failed : .warning, "\(path): \(small.text)",
                remedy: "reissue it with a key of \(PeerRules.soundRSA) bits or more")
        }
        // If digests replace the trust store, there is no authority to verify against.
        if let trust, source.file(.trustStore) != nil { reviewChain(chain, trust, path) }
    }

    /// Checks what TLS 1.3 peers demand of our certificate besides its chain.
    private mutating func reviewUse(_ chain: CertificateList, _ leaf: InspectedCertificate, _ path: String) {
        if let problem = chain.signingProblem { add(.failed, "\(path): \(problem.text)", remedy: problem.remedy) }
        if let problem = chain.staplingProblem { add(.warning, "\(path): \(problem.text)", remedy: problem.remedy) }
        guard source.owner.role == .server, !leaf.namesHost else { return }
        let remedy = "reissue it with the names and addresses that clients use as subjectAltName"
        if leaf.hasOnlyCommonName {
            add(
                .warning,
                "\(path): \(leaf.subject) has no subjectAltName: clients with GnuTLS compare its common name, others refuse it",
                remedy: remedy)
        } else {
            add(
                .failed,
                "\(path): \(leaf.subject) has no DNS name and no address in its subjectAltName, which clients compare with the "
                    + "server's name",
                remedy: remedy)
        }
    }

    /// Checks all files together, as the daemon loads them.
    private mutating func reviewWhole() {
        let isTold = findings.contains { $0.severity >= .unknown }
        guard !isTold, source.presentsCertificate, source.tokenScheme == nil else { return }
        _ = read(source.localFiles, as: source.owner.role)
    }

    /// Verifies our chain with our own trust store, because the peers' trust store is likely to contain the same
    /// authority.
    private mutating func reviewChain(_ chain: CertificateList, _ trust: Credentials, _ path: String) {
        // Dates are already reported with the certificates.
        var told: Set<FailureReason> = [.certificateExpired, .certificateNotYetValid, .trustAnchorExpired]
        // Small keys are reported with their size.
        if chain.smallKeys(by: source.rules).contains(where: \.isRefused) { told.insert(.certificateInsecureAlgorithm) }
        // Our lists are for peers' certificates; other lists may apply to our own.
        let problems = trust.problems(with: chain).filter { $0.reason != .certificateRevocationOutdated }
        for problem in problems where !told.contains(problem.reason) {
            let isUnknownAuthority = problem.reason == .certificateUnknownAuthority
            let explanation = problem.reason.row.explanation.replacing("the peer's", with: "our own")
            let text =
                isUnknownAuthority
                ? TextError(
                    "\(path) does not complete to our own trust store: \(problem.detail)",
                    remedy: "peers must trust its authority, and add intermediates to the file", joint: "; ")
                : TextError("\(path): \(explanation) (\(problem.detail))")
            add(isUnknownAuthority ? .note : problem.reason == .certificateRevoked ? .failed : .warning, text)
        }
        if problems.isEmpty { add(.ok, "\(path) completes to our own trust store") }
    }

    private mutating func reviewDates(
        _ facts: InspectedCertificate, _ what: String, of path: String, expired: Status
    ) {
        if facts.notAfter >= 0, facts.notAfter < now {
            add(
                expired, "\(what) \(facts.subject) of \(path) expired on \(dateText(facts.notAfter))",
                remedy: "renew it")
        } else if facts.notBefore > now {
            add(
                expired, "\(what) \(facts.subject) of \(path) is valid only from \(dateText(facts.notBefore)) on",
                remedy: "check the clock")
        } else if facts.notAfter >= 0, isEnding(facts) {
            let left = (facts.notAfter - now) / 86_400
            add(
                .warning,
                "\(what) \(facts.subject) of \(path) expires on \(dateText(facts.notAfter)), in \(left.counted("day"))",
                remedy: "renew it")
        }
    }

    private func isEnding(_ facts: InspectedCertificate) -> Bool {
        days.map { facts.notAfter < now + Int64($0) * 86_400 }
            ?? CertificateExpiry.isNear(notBefore: facts.notBefore, notAfter: facts.notAfter, now: now)
    }

    // MARK: Files

    /// The certificates of a file, if it can be read. Errors are reported elsewhere.
    private func certificates(_ path: String) -> CertificateList? {
        (try? SealedCopy(of: path)).flatMap { try? CertificateList(file: $0.descriptor, path: path) }
    }

    /// Loads some of the files together with a usable trust store.
    private mutating func load(_ parts: [CredentialFile?]) -> Credentials? {
        let files = parts.compactMap(\.self)
        guard trust == nil else { return read([source.file(.trustStore)].compactMap(\.self) + files, as: .client) }
        // If the role's own store is broken, any certificate can serve as trust store for checking the rest.
        let candidates = (files + source.localFiles).filter(\.kind.isCertificate)
        guard let any = candidates.first(where: { certificates($0.path) != nil }) else {
            reportUnreadable(files)
            return nil
        }
        return read([CredentialFile(kind: .trustStore, path: any.path)] + files, as: .client)
    }

    /// Reports each file that cannot be read, or has no certificate that it should have.
    private mutating func reportUnreadable(_ files: [CredentialFile]) {
        for file in files {
            do {
                let copy = try SealedCopy(of: file)
                if file.kind.isCertificate { _ = try CertificateList(file: copy.descriptor, path: file.path) }
            } catch let error as SystemError {
                report(.file(file, error))
            } catch let error as TextError {
                report(.content(error))
            } catch {}
        }
    }

    /// Loads files as a worker does, and reports failures.
    private mutating func read(_ files: [CredentialFile], as role: Role) -> Credentials? {
        do throws(RoleLoading.Problem) {
            return try RoleLoading.load(files, as: role, rules: source.rules)
        } catch {
            report(error)
        }
        return nil
    }

    private mutating func report(_ problem: RoleLoading.Problem) {
        switch problem {
        case .file(let file, let error):
            guard !ServiceCredentials.areGone(file.path) else {
                return add(
                    .unknown, "\(file.path) is a file that systemd gives to the service, which does not run",
                    remedy: "systemctl start tlshd, or give CREDENTIALS_DIRECTORY")
            }
            guard !error.isDenied else {
                return add(.unknown, "\(file.path) cannot be read by this user", remedy: "run this as root")
            }
            guard file.kind != .trustStore || !source.usesSystemTrust else {
                let problem = "\(error.description); it is the system's trust store"
                return add(
                    .failed,
                    TextError(problem, remedy: "install ca-certificates, or set x509.truststore", joint: ": "))
            }
            let isMissing = error.number == .enoent
            add(
                .failed, "\(error.description)\(hint(for: file))",
                remedy: settings.origin(of: file.path).map {
                    isMissing ? "put it there, or correct \($0)" : "correct \($0)"
                })
        case .content(let error): add(.failed, error)
        }
    }

    /// Consequence of a missing file.
    private func hint(for file: CredentialFile) -> String {
        switch file.kind {
        case .trustStore: "; the system's trust store is not used in its place"
        case .revocationList: "; no peer is accepted without the revocation list"
        case .certificate, .privateKey, .postQuantumCertificate, .postQuantumPrivateKey:
            "; the \(source.owner.role) is not served without it"
        }
    }
}

extension RoleSettings {
    /// Setting that names a file; `nil` for the system's trust store.
    fileprivate func origin(of path: String) -> SettingOrigin? {
        let files = [trustStore, crl].compactMap(\.self)
        if let named = files.first(where: { $0.value == path }) { return named.origin }
        return ownSources.first { $0.value == .file(path) }?.origin
    }
}
