import Foundation
import Glibc
import System
import TestSupport
import Testing
import Wire

/// Real tokens for tests: SoftHSM2, and a TPM that swtpm emulates, behind their own PKCS#11 modules.
final class Token {
    enum Kind: Sendable, CaseIterable {
        case softHSM, tpm
    }

    static let pin = "1234"
    private let directory = TemporaryDirectory()
    var folder: String { directory.path }
    /// For the module, in the signer's and the tools' environment.
    private(set) var environment: [String] = []
    private let emulator: PeerProgram?

    /// Makes an empty token of the name `test`.
    init(_ kind: Kind) throws {
        let folder = directory.path
        try FileManager.default.createDirectory(atPath: folder + "/store", withIntermediateDirectories: true)
        switch kind {
        case .softHSM:
            emulator = nil
            let text = "directories.tokendir = \(folder)/store\nobjectstore.backend = file\nlog.level = ERROR\n"
            try text.write(toFile: folder + "/softhsm2.conf", atomically: true, encoding: .utf8)
            environment = ["SOFTHSM2_CONF=\(folder)/softhsm2.conf"]
            try run(
                "softhsm2-util", "--init-token", "--free", "--label", "test", "--pin", Self.pin, "--so-pin", "5678")
        case .tpm:
            // The module looks for the control socket under the other's name with this ending.
            let socket = folder + "/socket"
            emulator = try PeerProgram(
                "/usr/bin/swtpm",
                [
                    "socket", "--tpm2", "--server", "type=unixio,path=\(socket)", "--ctrl",
                    "type=unixio,path=\(socket).ctrl", "--tpmstate", "dir=\(folder)", "--flags",
                    "not-need-init,startup-clear",
                ])
            environment = [
                "TPM2_PKCS11_TCTI=swtpm:path=\(socket)", "TPM2_PKCS11_STORE=\(folder)/store", "TSS2_LOG=all+NONE",
            ]
            // The emulator listens a moment after it was started.
            try wait { try run("p11tool", "--list-tokens").contains("manufacturer=IBM") }
            try run("p11tool", "--initialize", "--label", "test", "--set-so-pin", "5678", "pkcs11:manufacturer=IBM")
            try run("p11tool", "--initialize-pin", "--set-so-pin", "5678", "--set-pin", Self.pin, "pkcs11:token=test")
        }
        try openToOthers()
    }

    /// Puts a fixture's key on the token, and its certificate beside it.
    func importPair(_ name: String, id: String) throws {
        let key = "\(folder)/\(name).p8"
        try run("openssl", "pkcs8", "-topk8", "-nocrypt", "-in", Fixtures.shared.path(name + ".key"), "-out", key)
        try run("softhsm2-util", "--import", key, "--token", "test", "--label", name, "--id", id, "--pin", Self.pin)
        try importCertificate(Fixtures.shared.path(name + ".pem"), name, id: id)
    }

    /// Makes a key on the token that never leaves it, and has the fixtures' authority issue a certificate for it.
    ///
    /// - Returns: the certificate's file.
    func generate(_ name: String, _ type: [String]) throws -> String {
        let publicKey = "\(folder)/\(name).pub", certificate = "\(folder)/\(name).pem",
            template = "\(folder)/\(name).cfg"
        try run(
            ["p11tool", "--login", "--set-pin", Self.pin, "--generate-privkey"] + type
                + ["--label", name, "--outfile", publicKey, "pkcs11:token=test"])
        let text =
            "cn = \(name)\nsigning_key\ntls_www_server\ntls_www_client\ndns_name = server.test\nip_address = 127.0.0.1\n"
            + "expiration_date = \"2060-01-01 00:00:00\"\n"
        try text.write(toFile: template, atomically: true, encoding: .utf8)
        try run(
            "certtool", "--generate-certificate", "--load-pubkey", publicKey, "--template", template,
            "--load-ca-certificate", Fixtures.shared.path("ca.pem"), "--load-ca-privkey",
            Fixtures.shared.path("ca.key"), "--outfile", certificate)
        try openToOthers()
        return certificate
    }

    private func importCertificate(_ file: String, _ name: String, id: String) throws {
        try run(
            "p11tool", "--login", "--set-pin", Self.pin, "--write", "--load-certificate", file, "--label", name, "--id",
            id, "--no-mark-private", "pkcs11:token=test")
        try openToOthers()
    }

    /// A file that holds a PIN.
    func pinFile(_ pin: String = Token.pin) throws -> String {
        let path = "\(folder)/pin-\(pin)"
        try (pin + "\n").write(toFile: path, atomically: true, encoding: .utf8)
        return path
    }

    /// The signer runs as another user, who must be able to use the token, as an administrator would see to it.
    private func openToOthers() throws {
        try run("chmod", "-R", "a+rwX", folder)
    }

    @discardableResult
    func run(_ arguments: String...) throws -> String { try run(arguments) }

    @discardableResult
    func run(_ arguments: [String]) throws -> String { try Command.run(environment + arguments) }
}
