import Foundation
import TestSupport
import Testing

@Suite struct KeysTests {
    private let scratch = Scratch()
    private static let names = ["--hostnqn", "nqn.2014-08.example:h", "--subsysnqn", "nqn.2014-08.example:s"]
    /// The bytes 0 to 31.
    private static let key = "NVMeTLSkey-1:01:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh+KfiaR:"

    @Test("Making prints a key in interchange form, another each time")
    func make() throws {
        for (hash, start) in [("sha256", "NVMeTLSkey-1:01:"), ("sha384", "NVMeTLSkey-1:02:")] {
            let first = try Tool.run("keys", "make", "--hash", hash)
            let second = try Tool.run("keys", "make", "--hash", hash)
            #expect(first.status == 0 && first.output.hasPrefix(start) && first.output.hasSuffix(":\n"))
            #expect(first.output != second.output)
        }
        #expect(try Tool.run("keys", "make", "--retained").output.hasPrefix("NVMeTLSkey-1:00:"))
    }

    @Test("A key goes to a new file for its owner alone, never over another")
    func makeFile() throws {
        let run = try Tool.run("keys", "make", "-o", scratch.path("key"))
        #expect(run.status == 0 && run.output.isEmpty)
        let mode = try FileManager.default.attributesOfItem(atPath: scratch.path("key"))[.posixPermissions] as? Int
        #expect(mode == 0o600)
        let before = scratch.read("key")
        #expect(try Tool.run("keys", "make", "-o", scratch.path("key")).status == 1)
        #expect(scratch.read("key") == before)
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
        let expected = try Self.expected(derivation)
        let run = try Tool.run(arguments, input: "  \(expected.interchange)\n")
        #expect(run.status == 0, "\(run.errors)")
        #expect(scratch.read("psk") == expected.line + "\n")
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
        scratch.write("no colon\n", to: "broken")
        let run = try Tool.run(["keys", "import", "--psk-file", scratch.path("broken")] + Self.names, input: Self.key)
        #expect(run.status == 1 && run.errors.contains("broken:1:"))
        #expect(scratch.read("broken") == "no colon\n")
    }

    @Test("A damaged key is refused, and nothing of it is shown")
    func damaged() throws {
        let damaged = Self.key.replacing("AAEC", with: "AAED")
        let run = try Tool.run(["keys", "import", "--psk-file", scratch.path("psk")] + Self.names, input: damaged)
        #expect(run.status == 1 && run.errors.contains("check sum of the key"))
        #expect(!run.errors.contains("AAED"))
        #expect(!FileManager.default.fileExists(atPath: scratch.path("psk")))
        #expect(try Tool.run(["keys", "import"] + Self.names, input: "").status == 1)
        #expect(try Tool.run(["keys", "import"] + Self.names, input: String(repeating: "x", count: 5000)).status == 1)
    }

    @Test("A key on the command line is refused")
    func commandLine() throws {
        let run = try Tool.run(["keys", "import", Self.key] + Self.names)
        #expect(run.status == 2 && run.errors.contains("can be seen by everybody"))
    }

    @Test("Names that are no NVMe names are refused")
    func names() throws {
        let run = try Tool.run(
            "keys", "import", "--psk-file", scratch.path("psk"), "--hostnqn", "a b", "--subsysnqn", "s", input: Self.key
        )
        #expect(run.status == 1 && run.errors.contains("is not an NVMe qualified name"))
    }

    @Test("Without a keyring the list and the offer say so")
    func keyrings() throws {
        let list = try Tool.run("keys", "--json")
        #expect(list.status == 0)
        #expect(try list.json()["keyrings"] != nil)
        let offer = try Tool.run(["keys", "offer", "--keyring", "none-such"] + Self.names)
        #expect(offer.status == 1 && offer.firstLine.hasPrefix("FAILED: there is no keyring none-such"))
        let insert = try Tool.run(["keys", "import", "--keyring", "none-such"] + Self.names, input: Self.key)
        #expect(insert.status == 1 && insert.errors.contains("there is no keyring none-such"))
    }
}
