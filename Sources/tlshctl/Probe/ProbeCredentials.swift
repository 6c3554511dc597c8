internal import ArgumentParser
internal import Broker
internal import Handshake
internal import Policy
internal import Settings
internal import System
internal import TLS
internal import Wire

/// Certificates and trust store of a probe.
struct ProbeCredentialOptions: ParsableArguments {
    /// `--mode`.
    enum Mode: String, ExpressibleByArgument, CaseIterable {
        /// Mutual TLS if a certificate is configured and its key can be read.
        case auto
        case tls
        case mtls
    }

    @Option(
        name: .long,
        help: ArgumentHelp("Use this profile, or \"default\"; without it, the one that tlshd would.", valueName: "name")
    )
    var profile: String?

    @Option(name: .long, help: "tls (present no certificate), mtls (present one), or auto.")
    var mode = Mode.auto

    @Option(name: .long, help: ArgumentHelp("Trust these authorities.", valueName: "file"), completion: .file())
    var truststore: String?

    @Option(name: .long, help: ArgumentHelp("Use these revocation lists.", valueName: "file"), completion: .file())
    var crl: String?

    @Option(name: .long, help: ArgumentHelp("Present this certificate.", valueName: "file"), completion: .file())
    var certificate: String?

    @Option(name: .long, help: ArgumentHelp("Its private key.", valueName: "file"), completion: .file())
    var key: String?

    func validate() throws {
        guard (certificate == nil) == (key == nil) else {
            throw ValidationError("--certificate and --key belong together")
        }
    }

    /// Selected credentials.
    struct Choice {
        let profile: String
        let credentials: Credentials
        /// Rules for the peer, and limits of the negotiation.
        let rules: PeerRules
        let limits: NegotiationLimits
        /// True if digests replace the chain; and true if revocation is checked.
        let verifiesByPin: Bool
        let checksRevocation: Bool
        let certificate: OwnCertificate

        var presentsCertificate: Bool { certificate == .presented }
    }

    /// Our certificate.
    enum OwnCertificate: Equatable {
        case presented
        case unconfigured
        /// It is configured, and not presented for this reason.
        case omitted(String)

        /// Result of the probe for a mount with mutual TLS.
        var outlook: String {
            let mount = "a mount with xprtsec=mtls"
            return switch self {
            case .presented: "\(mount) makes the same handshake"
            case .unconfigured: "\(mount) would fail: no client certificate is configured"
            case .omitted(let reason): "\(mount) was not tried: \(reason)"
            }
        }
    }

    /// Settings of the profile, modified by the options.
    private func settings(
        _ all: DaemonSettings, for subject: ProfileSubject
    ) throws(ConnectionProblem) -> (name: String, settings: RoleSettings) {
        var found: (name: String, settings: RoleSettings)
        if let profile, profile != "default" {
            guard let named = all.profiles.first(where: { $0.name == profile }) else {
                throw ConnectionProblem(
                    text: "the settings have no [profile \(profile)]", remedy: "see tlshctl explain profile")
            }
            found = (named.name, named.credentials)
        } else if profile == nil, case .profile(let index) = all.choose(for: subject) {
            found = (all.profiles[index].name, all.profiles[index].credentials)
        } else {
            found = ("default", all.client)
        }
        if let truststore { found.settings.trustStore = Located(truststore, origin: .builtIn) }
        if let crl { found.settings.crl = Located(crl, origin: .builtIn) }
        if let certificate { found.settings.certificate = Located(.file(certificate), origin: .builtIn) }
        if let key { found.settings.privateKey = Located(.file(key), origin: .builtIn) }
        return found
    }

    /// Limits of the negotiation if no certificate is used.
    func limits(_ all: DaemonSettings, for subject: ProfileSubject) throws(ConnectionProblem) -> NegotiationLimits {
        try settings(all, for: subject).settings.limits
    }

    func choose(_ all: DaemonSettings, for subject: ProfileSubject) throws(ConnectionProblem) -> Choice {
        let (name, role) = try settings(all, for: subject)
        let source = CredentialSource(owner: CredentialsOwner(.standard, .client), settings: role)
        let judging = source.files.filter { $0.kind == .trustStore || $0.kind == .revocationList }
        func choice(
            _ files: [CredentialFile], _ certificate: OwnCertificate
        ) throws(RoleLoading.Problem) -> Choice {
            Choice(
                profile: name, credentials: try RoleLoading.load(files, as: .client, rules: source.rules),
                rules: source.rules, limits: source.limits, verifiesByPin: role.verifiesByPin,
                checksRevocation: role.crl != nil, certificate: certificate)
        }
        var certificate = source.presentsCertificate ? OwnCertificate.omitted("--mode tls was given") : .unconfigured
        if mode != .tls, let lack = lack(in: source) {
            guard mode != .mtls else {
                throw ConnectionProblem(
                    text: "profile \(name) has no certificate to present: \(lack)", remedy: "--certificate and --key")
            }
            if source.presentsCertificate { certificate = .omitted(lack) }
        } else if mode != .tls {
            do throws(RoleLoading.Problem) {
                return try choice(source.localFiles, .presented)
            } catch {
                guard mode == .auto, case .file(let file, let cause) = error, cause.isDenied,
                    !judging.contains(file)
                else { throw problem(error, name, isOfCertificate: (try? choice(judging, certificate)) != nil) }
                certificate = .omitted("\(file.path) cannot be read by this user")
            }
        }
        do throws(RoleLoading.Problem) {
            return try choice(judging, certificate)
        } catch {
            throw problem(error, name, isOfCertificate: false)
        }
    }

    /// Reason why no certificate can be presented; `nil` if one can.
    private func lack(in source: CredentialSource) -> String? {
        guard source.presentsCertificate else { return "x509.certificate is not set" }
        return source.tokenScheme.map { "the key is on a token (\($0):…), which only tlshd's signer opens" }
    }

    /// - Parameter isOfCertificate: true if the credentials can be used without our certificate.
    private func problem(
        _ error: RoleLoading.Problem, _ profile: String, isOfCertificate: Bool
    ) -> ConnectionProblem {
        let given = [truststore, crl, certificate, key].compactMap(\.self)
        if case .file(let file, _) = error, given.contains(file.path) {
            return ConnectionProblem(text: error.description, remedy: "give a file that can be read")
        }
        return ConnectionProblem(
            text: "the credentials of profile \(profile) cannot be used: \(error.description)",
            remedy: given.isEmpty
                ? "see tlshctl check" + (isOfCertificate ? ", or use --mode tls, which needs no certificate" : "")
                : "correct the files that are given")
    }
}
