internal import Broker
internal import FoundationEssentials
internal import Handshake
internal import Policy
internal import Settings
internal import System
internal import TLS
internal import Unconfined
internal import Wire
internal import X509

/// Checks the files of each role, with the broker's list of files and the worker's parsers.
struct CredentialsCheck {
    private(set) var findings: [Finding] = []
    /// Days before expiry from which a certificate is reported; `nil` for the rule of `CertificateExpiry`.
    private let days: Int?
    private let now = Int64(Date().timeIntervalSince1970)
    /// Created when the settings of a role first need it.
    private lazy var host = Result { () throws(GnuTLSError) in try HostEnvironment() }
    private let service: ServiceView

    /// - Parameter tables: tables of mounts, such as fstab(5).
    init(
        _ settings: DaemonSettings, days: Int? = nil, service: ServiceView = .current,
        tables: [String] = ["/etc/fstab", "/proc/self/mounts"]
    ) {
        self.days = days
        self.service = service
        checkRole("client", CredentialsOwner(.standard, .client), settings.client)
        checkRole("server", CredentialsOwner(.standard, .server), settings.server)
        for (index, profile) in settings.profiles.enumerated() {
            for role in profile.match.roles {
                let owner = CredentialsOwner(ProfileNumber(UInt16(truncatingIfNeeded: index + 1)), role)
                checkRole("profile \(profile.name), \(role)", owner, profile.credentials)
            }
        }
        let clients =
            [settings.client] + settings.profiles.filter { $0.match.roles.contains(.client) }.map(\.credentials)
        let owner = CredentialsOwner(.standard, .client)
        if !clients.contains(where: { CredentialSource(owner: owner, settings: $0).presentsCertificate }) {
            for table in tables { checkMounts(table) }
        }
    }

    /// Reports mounts that need a certificate of this host, which has none.
    private mutating func checkMounts(_ table: String) {
        let text = String(decoding: (try? ProcessTable.contents(of: table)) ?? [], as: UTF8.self)
        for line in text.split(separator: "\n") where !line.hasPrefix("#") {
            // Device, folder, type and options (fstab(5)).
            let fields = line.split(whereSeparator: { $0 == " " || $0 == "\t" })
            guard fields.count >= 4, fields[2].hasPrefix("nfs") else { continue }
            let options = fields[3].split(separator: ",")
            // A mount can bring its own certificate.
            guard options.contains("xprtsec=mtls"), !options.contains(where: { $0.hasPrefix("cert_serial=") }) else {
                continue
            }
            add(
                .warning,
                "\(table): \(fields[0]) on \(fields[1]) has xprtsec=mtls, and no client certificate is configured, so that a "
                    + "mount or a reconnect fails",
                remedy: "set x509.certificate and x509.private_key in [authenticate.client], or mount with xprtsec=tls")
        }
    }

    private mutating func add(_ severity: Status, _ text: String, remedy: String? = nil) {
        add(Finding(.credentials, severity, text, remedy: remedy))
    }

    private mutating func add(_ finding: Finding) {
        // Two roles with the same files have the same problems, which are reported once.
        if !findings.contains(finding) { findings.append(finding) }
    }

    private mutating func checkRole(_ label: String, _ owner: CredentialsOwner, _ settings: RoleSettings) {
        let source = CredentialSource(owner: owner, settings: settings)
        let isPresenting = source.presentsCertificate
        if !isPresenting, owner.role == .server {
            add(
                .note,
                "\(label): no certificate is configured, so that nothing can be served over TLS with certificates")
        } else if !isPresenting {
            add(
                .note,
                "\(label): no certificate is configured, so that mounts can use xprtsec=tls but not xprtsec=mtls")
        }
        if let scheme = source.tokenScheme {
            add(
                .note, "\(label): the key is on a token (\(scheme):…), which only tlshd's signer opens",
                remedy:
                    "let the user tlshd-signer use the token: its group, and under systemd the drop-in file token.conf")
        }
        for path in settings.pinFiles { checkPINFile(path, label) }
        for file in source.localFiles {
            for path in [file.path] + ((try? file.members()) ?? []) {
                checkFile(CredentialFile(kind: file.kind, path: path), label, source)
            }
        }
        checkLimits(label, source.limits)
        RoleReview(label: label, source: source, settings: settings, days: days, now: now).findings
            .forEach { add($0) }
    }

    /// Checks that the limits leave something to negotiate, as each worker does before it serves the role.
    private mutating func checkLimits(_ label: String, _ limits: NegotiationLimits) {
        // An unusable policy is reported by PolicyCheck.
        guard !limits.isEmpty, let host = try? host.get() else { return }
        do throws(HandshakeFailure) {
            try host.tls.priorities(within: limits)
            let lists = [("suites", limits.suites), ("groups", limits.groups)].filter { !$0.1.isEmpty }
            let text = lists.map { "\($0.0) \($0.1.joined(separator: ", "))" }.joined(separator: "; ")
            add(.ok, "\(label): its settings leave \(text)")
            let costly = limits.groups.filter(Priorities.isFiniteField)
            guard !costly.isEmpty else { return }
            add(
                .warning,
                "\(label): tls.groups names \(costly.joined(separator: ", ")): \(PolicyCheck.finiteFieldCost)",
                remedy: "leave these groups out unless a peer has no others")
        } catch {
            add(.failed, "\(label): \(error.detail)", remedy: error.reason.row.remedy)
        }
    }

    private mutating func checkPINFile(_ path: String, _ label: String) {
        if let finding = service.finding(on: path, .credentials) { add(finding) }
        do throws(SystemError) {
            if try FileIdentity(ofPath: path).isOpenToOthers {
                add(
                    .warning, "\(path) can be read or written by others, and holds a PIN", remedy: "chmod 600 \(path)")
            }
        } catch {
            let isDenied = error.isDenied
            add(
                isDenied ? .unknown : .failed,
                "\(label): the PIN file cannot be read: \(error.description)",
                remedy: isDenied ? "run this as root" : "put the PIN there, or correct pin-source")
        }
    }

    /// Checks owner and mode. Missing and unreadable files are reported when they are read.
    private mutating func checkFile(_ file: CredentialFile, _ label: String, _ source: CredentialSource) {
        guard let identity = try? FileIdentity(ofPath: file.path), identity.isRegularFile else { return }
        let closed = service.finding(on: file.path, .credentials)
        if let closed { add(closed) }
        if source.usesSystemTrust, file.kind == .trustStore { return }
        let isSecret = file.kind == .privateKey || file.kind == .postQuantumPrivateKey
        // Read access by the group is common, for example for a web server or in Kubernetes secrets.
        if isSecret, identity.mode & 0o027 != 0 {
            add(
                .warning, "\(file.path) can be read or written by others, and is a private key",
                remedy: "chmod 600 \(file.path)")
        } else if identity.mode & 0o022 != 0 {
            add(.warning, "\(file.path) can be written by others", remedy: "chmod go-w \(file.path)")
        }
        if identity.owner != 0, closed == nil {
            add(
                .warning, "\(file.path) belongs to uid \(identity.owner), who can replace it",
                remedy: "chown root \(file.path)")
        }
    }
}

extension RoleSettings {
    /// PIN files in the URLs of tokens, without duplicates.
    fileprivate var pinFiles: [String] {
        let files = ownSources.compactMap { source -> String? in
            guard case .url(let url) = source.value else { return nil }
            return url.pinFile
        }
        return Set(files).sorted()
    }
}

extension CredentialSource {
    func file(_ kind: CredentialKind, pair: UInt8 = 0) -> CredentialFile? {
        localFiles.first { $0.kind == kind && $0.pair == pair }
    }

    func path(of kind: CredentialKind) -> String? { file(kind)?.path }

    /// All pairs of certificate and key, by kind and number of their files.
    var pairs: [(certificate: CredentialKind, key: CredentialKind, number: UInt8)] {
        let numbers = Set(localFiles.map(\.pair)).sorted()
        return [(.postQuantumCertificate, .postQuantumPrivateKey, 0)]
            + numbers.map { (.certificate, .privateKey, $0) }
    }
}
