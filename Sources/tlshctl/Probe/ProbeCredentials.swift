internal import ArgumentParser
internal import Broker
internal import Handshake
internal import Settings
internal import System
internal import TLS
internal import Wire

/// With which certificates a probe goes, and whom it trusts.
struct ProbeCredentialOptions: ParsableArguments {
    /// `--mode`.
    enum Mode: String, ExpressibleByArgument, CaseIterable {
        /// Mutual where a certificate is configured and its key can be read.
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

    /// What was chosen.
    struct Choice {
        let profile: String
        let credentials: Credentials
        let presentsCertificate: Bool
        /// Files, for the report.
        let trustStore: String
        let revocationList: String?
        let note: String?
    }

    /// The settings of the profile, changed by the options.
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

    func choose(_ all: DaemonSettings, for subject: ProfileSubject) throws(ConnectionProblem) -> Choice {
        let (name, role) = try settings(all, for: subject)
        let source = CredentialSource(owner: CredentialsOwner(.standard, .client), settings: role)
        let judging = source.files.filter { $0.kind == .trustStore || $0.kind == .revocationList }
        let wantsCertificate = mode == .mtls || mode == .auto && source.certificatePath != nil
        var note: String?
        if wantsCertificate {
            do throws(RoleLoading.Problem) {
                return Choice(
                    profile: name, credentials: try load(source.localFiles), presentsCertificate: true,
                    trustStore: source.path(of: .trustStore) ?? "", revocationList: source.path(of: .revocationList),
                    note: nil)
            } catch {
                guard mode == .auto, case .file(let file, let cause) = error, SystemError.denied.contains(cause.number),
                    !judging.contains(file)
                else { throw problem(error, name) }
                note = "\(file.path) cannot be read by this user, so that no certificate is presented"
            }
        }
        do throws(RoleLoading.Problem) {
            return Choice(
                profile: name, credentials: try load(judging), presentsCertificate: false,
                trustStore: source.path(of: .trustStore) ?? "", revocationList: source.path(of: .revocationList),
                note: note)
        } catch {
            throw problem(error, name)
        }
    }

    private func load(_ files: [CredentialFile]) throws(RoleLoading.Problem) -> Credentials {
        try RoleLoading.load(files, as: .client)
    }

    private func problem(_ error: RoleLoading.Problem, _ profile: String) -> ConnectionProblem {
        ConnectionProblem(
            text: "the credentials of profile \(profile) cannot be used: \(error.description)",
            remedy: "tlshctl check tells more; --mode tls does without a certificate")
    }
}
