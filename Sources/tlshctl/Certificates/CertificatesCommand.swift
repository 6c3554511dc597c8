internal import ArgumentParser
internal import FoundationEssentials
internal import Glibc
internal import Handshake
internal import Inspect
internal import System
internal import X509

/// `tlshctl certs`: certificates for a lab.
struct CertificatesCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "certs", abstract: "Make certificates for a lab.", subcommands: [Initialization.self])

    /// `tlshctl certs init`.
    struct Initialization: PrintsFacts {
        static let configuration = CommandConfiguration(
            commandName: "init", abstract: "Make an authority, and a certificate of a server and of a client.",
            discussion: """
                For a lab only: the private key of the authority lies beside the certificates. The directory is made, with keys of \
                mode 600; nothing that exists is overwritten. The output says what to copy, and what to write into tlshd.conf.
                """)

        @Argument(help: ArgumentHelp("The directory to make.", valueName: "directory"), completion: .directory)
        var directory: String

        @Option(
            name: .long, parsing: .upToNextOption,
            help: ArgumentHelp("The names and addresses of the server, as clients mount them.", valueName: "name"))
        var server: [String] = []

        @Option(
            name: .long, parsing: .upToNextOption,
            help: ArgumentHelp("The names and addresses of the client.", valueName: "name"))
        var client: [String] = []

        @OptionGroup var output: OutputOptions

        var commandName: String { "certs init" }

        func validate() throws {
            guard !server.isEmpty || !client.isEmpty else {
                throw ValidationError("give the names of the server (--server), of the client (--client), or both")
            }
            for name in server + client where LabName(name) == nil {
                throw ValidationError("\"\(name)\" is neither a host name in ASCII nor an address")
            }
        }

        func run() throws {
            KeyMaterial.harden()
            try GnuTLSStart.run()
            let report: LabReport
            do {
                report = try make()
            } catch let error as SystemError {
                let remedy = error.call == "mkdir" ? "; remedy: name a new directory in one that exists" : ""
                throw CommandError(error.description + remedy)
            } catch let error as GnuTLSError {
                throw CommandError("the certificates cannot be made: \(error.description)")
            }
            try finish(report)
        }

        private func make() throws -> LabReport {
            let authority = try LabAuthority()
            guard unsafe mkdir(directory, 0o700) == 0 else { throw SystemError.last("mkdir", directory) }
            try write(authority.own(), "ca")
            var roles: [LabReport.Role] = []
            for (role, names) in [(Role.server, server), (.client, client)] where !names.isEmpty {
                try write(authority.issue(to: role, names.compactMap(LabName.init)), "\(role)")
                roles.append(LabReport.Role(role: "\(role)", names: names))
            }
            return LabReport(
                directory: directory, authority: authority.subject,
                notAfter: Date(timeIntervalSince1970: TimeInterval(authority.notAfter)),
                roles: roles
            )
        }

        private func write(_ issued: consuming IssuedCertificate, _ name: String) throws {
            let path = "\(directory)/\(name)"
            let certificate = try PSKFileWriter.create(path + ".pem", mode: 0o644)
            try OwnedDescriptor.write(issued.certificate.span, to: certificate.number, path + ".pem")
            let key = try PSKFileWriter.create(path + ".key")
            try issued.key.withSpan { span in try OwnedDescriptor.write(span, to: key.number, path + ".key") }
        }
    }
}

/// Result of `tlshctl certs init`.
private struct LabReport: Report {
    struct Role: Encodable {
        let role: String
        let names: [String]
    }

    let directory: String
    let authority: String
    /// Time at which the certificates expire.
    let notAfter: Date
    let roles: [Role]

    var status: Status { .ok }

    var summary: String {
        let made = roles.map { "a certificate of the \($0.role) \($0.names.joined(separator: ", "))" }
        let parts = (["the authority \(authority)"] + made).joined(separator: ", ")
        return "\(directory) has \(parts), valid to \(dateText(Int64(notAfter.timeIntervalSince1970)))"
    }

    func text(on terminal: Terminal) -> String {
        var text =
            headline(terminal) + "\n"
            + terminal.styled(
                "WARNING: for a lab only: the authority's private key, ca.key, lies beside the certificates, and anybody who reads it "
                    + "can make certificates that these hosts trust", .warning) + "\n"
        for role in roles {
            let host = role.names[0].contains(":") ? "[\(role.names[0])]" : role.names[0]
            text += """

                # \(role.role): copy the files, and write the lines below into /etc/tlshd/config.d/lab.conf there
                scp \(directory)/ca.pem \(directory)/\(role.role).pem \(directory)/\(role.role).key root@\(host):/etc/tlshd/

                [authenticate.\(role.role)]
                x509.truststore=/etc/tlshd/ca.pem
                x509.certificate=/etc/tlshd/\(role.role).pem
                x509.private_key=/etc/tlshd/\(role.role).key

                """
        }
        return text
    }
}
