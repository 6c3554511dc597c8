import Foundation
import TestSupport
import Testing
import X509

@Suite struct KeysTests {
    private let scratch = TemporaryDirectory()
    private static let names = ["--hostnqn", "nqn.2014-08.example:h", "--subsysnqn", "nqn.2014-08.example:s"]
    /// The bytes 0 to 31.
    private static let key = "NVMeTLSkey-1:01:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh+KfiaR:"

    /// Status of a command that stores or makes a key with SHA-384: a warning, if this GnuTLS cannot use it.
    private static let statusOfSHA384: Int32 = GnuTLS.bindsSHA384 ? 0 : 3

    @Test("Making prints a key in interchange form, another each time", arguments: ["gen-tls", "make"])
    func make(command: String) throws {
        for (hash, start) in [
            ("sha256", "NVMeTLSkey-1:01:"), ("sha384", "NVMeTLSkey-1:02:"), ("1", "NVMeTLSkey-1:01:"),
            ("2", "NVMeTLSkey-1:02:"),
        ] {
            let first = try Tool.run("keys", command, "--hash", hash)
            let second = try Tool.run("keys", command, "--hmac", hash)
            #expect(first.status == (start.hasSuffix("02:") ? Self.statusOfSHA384 : 0), "\(first.errors)")
            #expect(first.output.hasPrefix(start) && first.output.hasSuffix(":\n"))
            #expect(first.errors.contains("cannot use PSKs with SHA-384") == (first.status == 3))
            #expect(first.output != second.output)
        }
        #expect(try Tool.run("keys", command, "--retained").output.hasPrefix("NVMeTLSkey-1:00:"))
        #expect(try Tool.run("keys", command, "--hmac", "3").status == 2)
    }

    @Test("A key goes to a new file for its owner alone, never over another")
    func makeFile() throws {
        let run = try Tool.run("keys", "make", "-o", scratch.path("key"))
        #expect(run.status == 0 && run.output.isEmpty)
        let mode = try FileManager.default.attributesOfItem(atPath: scratch.path("key"))[.posixPermissions] as? Int
        #expect(mode == 0o600)
        let before = scratch.read("key")
        let again = ["keys", "make", "-o", scratch.path("key"), "--psk-file", scratch.path("psk")] + Self.names
        #expect(try Tool.run(again).status == 1)
        #expect(scratch.read("key") == before)
        #expect(scratch.read("psk").isEmpty, "a key that the other end cannot get is not stored")
        let other = ["keys", "make", "-o", scratch.path("other"), "--keyring", "none-such", "--insert"] + Self.names
        #expect(try Tool.run(other).status == 1)
        #expect(!FileManager.default.fileExists(atPath: scratch.path("other")))
    }

    @Test("The document of a key that is made has the key where the text has it, and what was stored")
    func makeDocument() throws {
        let made = try Tool.run(["keys", "gen-tls", "--json", "--psk-file", scratch.path("psk")] + Self.names)
        #expect(made.status == 0 && made.errors.isEmpty, "\(made.errors)")
        let document = try made.document()
        let key = try #require(document.data["key"] as? String)
        let identity = try #require(document.data["identity"] as? String)
        #expect(scratch.read("psk").hasPrefix("\(identity):"))
        #expect(document.data["hash"] as? String == "sha256")
        #expect(document.data["pskFile"] as? String == scratch.path("psk"))
        #expect(document.data["serial"] is NSNull)
        #expect(document.summary == "\(identity) is in \(scratch.path("psk"))")
        // The key is that of the PSK: the same PSK is derived from it.
        let insert = ["keys", "insert", "--psk-file", scratch.path("again")] + Self.names
        #expect(try Tool.run(insert, input: key).status == 0)
        #expect(scratch.read("again") == scratch.read("psk"))

        let file = try Tool.run("keys", "gen-tls", "--json", "--hmac", "2", "-o", scratch.path("key"))
        #expect(file.status == Self.statusOfSHA384 && file.errors.isEmpty, "\(file.errors)")
        #expect(!file.output.contains("NVMeTLSkey"))
        let withoutKey = try file.document()
        #expect(withoutKey.data["key"] is NSNull && withoutKey.data["identity"] is NSNull)
        #expect(withoutKey.data["file"] as? String == scratch.path("key"))
        #expect((withoutKey.data["warnings"] as? [String])?.isEmpty == GnuTLS.bindsSHA384)
        let failed = try Tool.run("keys", "gen-tls", "--json", "-o", scratch.path("key"))
        #expect(try failed.status == 1 && failed.document().status == "failed")
    }

    @Test("A second key for the same two ends is told, as the kernel takes any of them")
    func rivals() throws {
        let arguments = ["keys", "import", "--psk-file", scratch.path("psk")] + Self.names
        #expect(try Tool.run(arguments, input: Self.key).status == 0)
        #expect(try Tool.run(arguments, input: Self.key).status == 0, "the same again")
        let other = try Tool.run("keys", "make").output
        let run = try Tool.run(arguments, input: other)
        #expect(run.status == 3, "\(run.output)\(run.errors)")
        #expect(run.output.contains("WARNING: so is NVMe1R01 nqn.2014-08.example:h nqn.2014-08.example:s "))
        let elsewhere = ["keys", "import", "--psk-file", scratch.path("psk"), "--hostnqn", "nqn.2014-08.example:h"]
        #expect(try Tool.run(elsewhere + ["--subsysnqn", "nqn.2014-08.example:t"], input: Self.key).status == 0)
    }

    struct Derivation: Sendable {
        /// The two digits of the interchange form.
        var transform = "01"
        var length = 32
        var version = "1"
        var isLegacy = false
    }

    private static let derivations = [
        Derivation(), Derivation(version: "0"), Derivation(isLegacy: true), Derivation(version: "0", isLegacy: true),
        Derivation(transform: "02", length: 48), Derivation(transform: "00"), Derivation(transform: "00", length: 48),
    ]

    @Test("Import derives by the specification, or as older tools did", arguments: derivations)
    func derive(_ derivation: Derivation) throws {
        let arguments =
            ["keys", "import", "--psk-file", scratch.path("psk"), "--identity-version", derivation.version] + Self.names
            + (derivation.isLegacy ? ["--legacy"] : [])
        // The words of nvme-cli 3.0 do the same.
        let others =
            ["keys", "insert", "--psk-file", scratch.path("other"), "--identity", derivation.version] + Self.names
            + (derivation.isLegacy ? ["--compat"] : [])
        let expected = try Self.expected(derivation)
        let run = try Tool.run(arguments, input: "  \(expected.interchange)\n")
        #expect(run.status == (derivation.length == 48 ? Self.statusOfSHA384 : 0), "\(run.errors)")
        #expect(scratch.read("psk") == expected.line + "\n")
        #expect(try Tool.run(others, input: expected.interchange).status == run.status)
        #expect(scratch.read("other") == scratch.read("psk"))
        #expect(!run.output.contains(expected.line.suffix(20)))
    }

    /// By an implementation of its own, in Python: a key in interchange form, and the line of a file of PSKs.
    private static func expected(_ derivation: Derivation) throws -> (interchange: String, line: String) {
        let script = """
            import base64, hashlib, hmac, struct, sys, zlib
            host, subsystem, transform, length, version, legacy = sys.argv[1:]
            key = bytes(range(int(length)))
            name, number = ("sha256", "01") if length == "32" else ("sha384", "02")
            def mac(key, text): return hmac.new(key, text, name).digest()
            def expand(key, label, context):
                label = b"tls13 " + label
                lengths = struct.pack(">H", len(key)) + bytes([len(label)]) + label + bytes([len(context)]) + context
                info = struct.pack("<H", len(key)) + label + context if legacy == "true" else lengths
                return mac(mac(bytes(len(key)), key), info + bytes([1]))
            retained = key if transform == "00" else expand(key, b"HostNQN", host.encode())
            digest = base64.b64encode(mac(retained, f"{host} {subsystem} NVMe-over-Fabrics".encode())).decode()
            identity = f"NVMe{version}R{number} {host} {subsystem}" + (f" {digest}" if version == "1" else "")
            context = f"{number} {digest}" if version == "1" else identity
            print(f"NVMeTLSkey-1:{transform}:{base64.b64encode(key + struct.pack('<I', zlib.crc32(key))).decode()}:")
            print(f"{identity}:{expand(retained, b'nvme-tls-psk', context.encode()).hex()}")
            """
        let data = try Command.run(
            "python3", "-c", script, names[1], names[3], derivation.transform, "\(derivation.length)",
            derivation.version, "\(derivation.isLegacy)")
        let lines = data.split(separator: "\n").map(String.init)
        return lines.count == 2 ? (lines[0], lines[1]) : ("", "")
    }

    @Test("A file of PSKs keeps what others wrote, and the new key takes the place of the old one")
    func pskFile() throws {
        scratch.write("# of ours\nother:00112233445566778899aabbccddeeff", to: "psk")
        let import1 = ["keys", "import", "--psk-file", scratch.path("psk")] + Self.names
        #expect(try Tool.run(import1, input: Self.key).status == 0)
        #expect(try Tool.run(import1, input: Self.key).status == 0)
        let lines = scratch.read("psk").split(separator: "\n")
        #expect(lines.count == 3)
        #expect(lines.first == "# of ours" && lines.dropFirst().first?.hasPrefix("other:") == true)
        #expect(lines.last?.hasPrefix("NVMe1R01 ") == true)
        let document = try Tool.run(import1 + ["--json"], input: Self.key).document()
        let inserted = try #require(document.data["inserted"] as? [[String: Any]])
        #expect(document.status == "ok" && inserted.map { $0["pskFile"] as? String } == [scratch.path("psk")])
        let identity = try #require(inserted.first?["identity"] as? String)
        #expect(lines.last?.hasPrefix("\(identity):") == true && inserted.first?["serial"] is NSNull)
        scratch.write("no colon\n", to: "broken")
        let run = try Tool.run(["keys", "import", "--psk-file", scratch.path("broken")] + Self.names, input: Self.key)
        #expect(run.status == 1 && run.errors.contains("broken:1:"))
        #expect(scratch.read("broken") == "no colon\n")
    }

    @Test("A damaged key is refused, and nothing of it is shown")
    func damaged() throws {
        let damaged = Self.key.replacing("AAEC", with: "AAED")
        let run = try Tool.run(["keys", "import", "--psk-file", scratch.path("psk")] + Self.names, input: damaged)
        #expect(
            run.status == 1
                && run.errors.hasPrefix(
                    "tlshctl: standard input has no NVMe TLS key: the checksum of the key does not match")
        )
        #expect(run.errors.contains("; remedy: copy the whole key again"))
        #expect(!run.errors.contains("AAED"))
        #expect(!FileManager.default.fileExists(atPath: scratch.path("psk")))
        let empty = try Tool.run(["keys", "import"] + Self.names, input: "\n")
        #expect(
            empty.status == 1 && empty.errors.contains("standard input has no NVMe TLS key: there is no text; remedy: ")
        )
        #expect(try Tool.run(["keys", "import"] + Self.names, input: String(repeating: "x", count: 5000)).status == 1)
    }

    @Test("A key on the command line is refused wherever it stands, called known, and not shown")
    func commandLine() throws {
        for arguments in [
            ["keys", "import", Self.key] + Self.names, ["keys", "insert", "file", Self.key],
            ["keys", "list", Self.key],
            ["keys", "gen-tls", "--output=\(Self.key)"], ["probe", "nvme://a", "--psk-file", Self.key], [Self.key],
        ] {
            let run = try Tool.run(arguments)
            #expect(run.status == 2 && run.errors.contains("consider it known, and make another"), "\(run.errors)")
            #expect(!(run.output + run.errors).contains("AAEC"), "\(run.errors)")
        }
    }

    @Test("The subsystem is asked for before anything is read, made or written")
    func usage() throws {
        let host = ["--hostnqn", "nqn.2014-08.example:h"]
        for command in [
            ["keys", "insert", scratch.path("none")] + host, ["keys", "offer", "--keyring", "none-such"],
            ["keys", "gen-tls", "--psk-file", scratch.path("psk")], ["keys", "gen-tls", "--insert"] + host,
        ] {
            let run = try Tool.run(command)
            #expect(run.status == 2 && run.errors.contains("with --subsysnqn, or --discovery"), "\(run.errors)")
            #expect(run.output.isEmpty && !run.errors.contains("ENOENT"))
        }
    }

    @Test("A folder in the place of a key's file, and a folder that is not there, are told in our words")
    func folders() throws {
        let run = try Tool.run(["keys", "insert", scratch.path] + Self.names)
        #expect(
            run.status == 1 && run.errors.contains("\(scratch.path) is a folder; remedy: give the file of the key"),
            "\(run.errors)")
        let file = scratch.path("none/psk")
        let absent = try Tool.run(["keys", "insert", "--psk-file", file] + Self.names, input: Self.key)
        #expect(absent.status == 1 && absent.errors.contains("open a new file in the place of \(file): No such file"))
        #expect(!absent.errors.contains(".new"), "\(absent.errors)")
    }

    @Test("Names that are no NVMe names are refused")
    func names() throws {
        let run = try Tool.run(
            "keys", "import", "--psk-file", scratch.path("psk"), "--hostnqn", "a b", "--subsysnqn", "s", input: Self.key
        )
        #expect(run.status == 1 && run.errors.contains("is not an NVMe qualified name"))
    }

    @Test("The subsystem is asked for, and that of discovery only used if it is named")
    func subsystem() throws {
        let host = ["--hostnqn", "nqn.2014-08.example:h"]
        for command in [["keys", "insert", "--psk-file", scratch.path("psk")], ["keys", "offer"]] {
            let run = try Tool.run(command + host, input: Self.key)
            #expect(run.status == 2 && run.errors.contains("with --subsysnqn, or --discovery"))
        }
        #expect(scratch.read("psk").isEmpty)
        let arguments = ["keys", "insert", "--psk-file", scratch.path("psk"), "--discovery"] + host
        #expect(try Tool.run(arguments, input: Self.key).status == 0)
        #expect(scratch.read("psk").contains(" nqn.2014-08.org.nvmexpress.discovery "))
        #expect(try Tool.run(arguments + ["--subsysnqn", "nqn.2014-08.example:s"], input: Self.key).status == 2)
    }

    @Test(
        "A name that is no NQN is told, and the key stored all the same, as the kernel takes any name",
        arguments: [
            ("disks", "does not begin with nqn."), ("nqn.2026.example:disks", "no year and month"),
            ("nqn.2026-11.com.example:", "no name follows"), ("nqn.2026-11.:disks", "no domain"),
            ("nqn.2014-08.org.nvmexpress:uuid:1234", "is not a UUID"), ("nqn.2026-11.com.example:disks", ""),
            ("nqn.1992-08.com.netapp:sn.41:subsystem.a", ""), ("nqn.2014-08.org.nvmexpress.discovery", ""),
            ("nqn.2014-08.org.nvmexpress:uuid:00000000-0000-4000-8000-00000000000a", ""),
        ])
    func names(name: String, problem: String) throws {
        let run = try Tool.run(
            "keys", "insert", "--psk-file", scratch.path("psk"), "--hostnqn", "nqn.2014-08.example:h", "--subsysnqn",
            name, input: Self.key)
        #expect(run.status == (problem.isEmpty ? 0 : 3), "\(run.output)\(run.errors)")
        #expect(run.output.contains("WARNING: the name of the subsystem, \(name), is not") == !problem.isEmpty)
        #expect(problem.isEmpty || run.output.contains(problem))
        #expect(scratch.read("psk").hasPrefix("NVMe1R01 nqn.2014-08.example:h \(name) "))
    }

    @Test("Version 0 beside version 1 is told: the kernel's host offers only one")
    func versions() throws {
        let arguments = ["keys", "insert", "--psk-file", scratch.path("psk")] + Self.names
        #expect(try Tool.run(arguments + ["--identity", "0"], input: Self.key).status == 0)
        let run = try Tool.run(arguments, input: Self.key)
        #expect(run.status == 3)
        #expect(
            run.output.contains(
                "WARNING: there is NVMe0R01 nqn.2014-08.example:h nqn.2014-08.example:s for the same host and subsystem; "
                    + "the kernel's NVMe host offers only NVMe1R01 "))
        #expect(run.output.contains("tlshctl keys revoke --identity \"NVMe0R01 nqn.2014-08.example:h "))
    }

    /// The line of a file of nvme-cli with the bytes 0 to 31 as the PSK.
    private static let line = "NVMe0R01 nqn.2014-08.example:h nqn.2014-08.example:s \(key)"

    @Test("A list of nvme-cli is taken as it is: its keys are PSKs, and nothing is derived")
    func list() throws {
        let other = "NVMe0R01 nqn.2014-08.example:h nqn.2014-08.example:t \(Self.key)"
        let run = try Tool.run(
            "keys", "import", "--psk-file", scratch.path("psk"), input: "\(Self.line)\n# note\n\(other)\n")
        #expect(run.status == 0, "\(run.errors)")
        #expect(run.output.split(separator: "\n").count == 2)
        let digits = (0..<32).map { String(format: "%02x", $0) }.joined()
        #expect(
            scratch.read("psk")
                == "NVMe0R01 nqn.2014-08.example:h nqn.2014-08.example:s:\(digits)\n"
                + "NVMe0R01 nqn.2014-08.example:h nqn.2014-08.example:t:\(digits)\n")
        let damaged = try Tool.run("keys", "insert", input: Self.line.replacing("AAEC", with: "AAED"))
        #expect(damaged.status == 1 && damaged.errors.contains("standard input:1:54: the checksum of the key"))
        let named = try Tool.run(["keys", "insert"] + Self.names, input: Self.line)
        #expect(named.status == 1 && named.errors.contains("the list names host and subsystem"))
    }

    @Test("A PSK is added to a file of nvme-cli, and removed from it")
    func revokeFromFile() throws {
        scratch.write("\(Self.line)\n", to: "tls-keys")
        let file = ["--psk-file", scratch.path("tls-keys")]
        let added = try Tool.run(
            ["keys", "insert", "--hostnqn", "nqn.2014-08.example:h", "--subsysnqn", "nqn.2014-08.example:t"] + file,
            input: Self.key)
        #expect(added.status == 0)
        #expect(scratch.read("tls-keys").hasPrefix("\(Self.line)\nNVMe1R01 "))
        let identity = "NVMe0R01 nqn.2014-08.example:h nqn.2014-08.example:s"
        let run = try Tool.run(["keys", "revoke", "--keyring", "none-such", "--identity", identity] + file)
        #expect(run.status == 0, "\(run.errors)")
        #expect(run.output == "\(identity) is removed from \(scratch.path("tls-keys"))\n")
        #expect(scratch.read("tls-keys").hasPrefix("NVMe1R01 "))
        let again = try Tool.run(["keys", "revoke", "--keyring", "none-such", "--identity", identity] + file)
        let text = "tls-keys has no PSK with the identity \"\(identity)\", and there is no keyring none-such"
        #expect(again.status == 1 && again.errors.contains(text), "\(again.errors)")
        let other = scratch.read("tls-keys").split(separator: ":").dropLast().joined(separator: ":")
        let last = try Tool.run(["keys", "revoke", "--json", "--keyring", "none-such", "--identity", other] + file)
        let document = try last.document()
        #expect(document.status == "ok" && document.data["identity"] as? String == other)
        #expect(document.data["pskFile"] as? String == scratch.path("tls-keys") && document.data["serial"] is NSNull)
        #expect(scratch.read("tls-keys").isEmpty)
    }

    @Test("Revoking tells of a PSK that the settings would bring back")
    func revokeSettings() throws {
        let identity = "NVMe0R01 nqn.2014-08.example:h nqn.2014-08.example:s"
        scratch.write("\(Self.line)\n", to: "tls-keys")
        scratch.write("\(Self.line)\n", to: "copy")
        scratch.write("[authenticate]\npsk.file=\(scratch.path("tls-keys"))\n", to: "config")
        let run = try Tool.run(
            "keys", "revoke", "-c", scratch.path("config"), "--keyring", "none-such", "--identity", identity,
            "--psk-file",
            scratch.path("copy"))
        #expect(run.status == 3, "\(run.errors)")
        #expect(run.output.contains("WARNING: \(scratch.path("tls-keys")), which psk.file names, has the PSK as well"))
    }

    @Test("Without a keyring the list and the offer say so")
    func keyrings() throws {
        let list = try Tool.run("keys", "--json")
        #expect(list.status == 0)
        #expect(try list.document().data["keyrings"] != nil)
        let offer = try Tool.run(["keys", "offer", "--keyring", "none-such"] + Self.names)
        #expect(offer.status == 1 && offer.firstLine.hasPrefix("FAILED: there is no keyring none-such"))
        let document = try Tool.run(["keys", "offer", "--keyring", "none-such", "--json"] + Self.names).document()
        #expect(document.status == "failed" && document.data["serial"] is NSNull)
        let insert = try Tool.run(["keys", "import", "--keyring", "none-such"] + Self.names, input: Self.key)
        #expect(insert.status == 1 && insert.errors.contains("there is no keyring none-such"))
    }
}
