import Control
import Foundation
import TestSupport
import Testing

@Suite struct ExplainTests {
    @Test("Each setting has its value and its place; the last one counts")
    func origins() throws {
        let scratch = TemporaryDirectory()
        scratch.write("[limits]\nhandshakes=7\nhandshakes=9\n", to: "config")
        let run = try Tool.run("explain", "-c", scratch.path("config"), "limits handshakes")
        #expect(run.status == 0)
        #expect(
            run.output.contains("9     \(scratch.path("config")):3 (instead of \(scratch.path("config")):2)"),
            "\(run.output)")
        #expect(run.output.contains("built in"))
        let document = try Tool.run("explain", "-c", scratch.path("config"), "--written", "--json").document()
        let settings = document.data["settings"] as? [[String: Any]] ?? []
        #expect(settings.count == 1 && settings.first?["value"] as? String == "9")
    }

    @Test("In JSON, what is not set is null, and what is built in has no place")
    func unset() throws {
        let scratch = TemporaryDirectory()
        scratch.write("[profile a]\nmatch.role=client\n", to: "config")
        let document = try Tool.run("explain", "-c", scratch.path("config"), "--json").document()
        #expect(document.status == "ok" && document.summary == "from \(scratch.path("config"))")
        let settings = document.data["settings"] as? [[String: Any]] ?? []
        // Words in place of a value have blanks, or are these.
        for setting in settings where setting["origin"] is NSNull {
            let value = setting["value"] as? String ?? ""
            #expect(!value.contains(" ") && !["none", "any"].contains(value), "\(setting)")
        }
        let store = settings.first { $0["key"] as? String == "x509.truststore" }
        #expect(store?["value"] is NSNull && store?["text"] as? String == "the system's trust store")
        let none = try Tool.run("explain", "-c", scratch.path("config"), "--json", "nonsense")
        #expect(try none.status == 1 && none.document().data.isEmpty)
    }

    @Test("A name that no setting has is told, with the nearest one or with all sections")
    func unknown() throws {
        let scratch = TemporaryDirectory()
        scratch.write("", to: "config")
        let explain = ["explain", "-c", scratch.path("config")]
        let near = try Tool.run(explain + ["limits", "handshaks"])
        #expect(near.status == 1 && near.output.isEmpty, "\(near.output)")
        #expect(near.errors.contains("no setting is called handshaks; remedy: write handshakes"), "\(near.errors)")
        let far = try Tool.run(explain + ["nosuch"])
        #expect(far.status == 1 && far.errors.contains("remedy: name one of the sections "), "\(far.errors)")
        #expect(far.errors.contains(", limits, "), "\(far.errors)")
    }

    @Test("Without -c they are those of the tlshd that runs, and of many repeats of a key three are shown")
    func running() throws {
        let scratch = TemporaryDirectory()
        scratch.write("[limits]\n" + String(repeating: "handshakes=7\n", count: 1000), to: "config")
        var report = ServiceReport(version: "9.9", seconds: 61)
        report.settings = [scratch.path("config")]
        let daemon = try FakeDaemon(report.json)
        let run = try Tool.run("explain", "--socket", daemon.path, "limits handshakes")
        let config = scratch.path("config")
        #expect(
            run.output.contains(
                "7     \(config):1001 (instead of \(config):2, \(config):3, \(config):4 and 996 more lines)"),
            "\(run.output)")
    }

    @Test("Settings that are broken are complained about")
    func broken() throws {
        let scratch = TemporaryDirectory()
        scratch.write("nonsense\n", to: "config")
        let run = try Tool.run("explain", "-c", scratch.path("config"))
        #expect(run.status == 1 && run.errors.contains("config:1:1"))
        #expect(try Tool.run("explain", "-c", scratch.path("absent")).status == 1)
    }

    @Test("A PIN in a URL is not shown")
    func secret() throws {
        let scratch = TemporaryDirectory()
        scratch.write("[authenticate.client]\nx509.private_key=pkcs11:token=t?pin-value=1234\n", to: "config")
        let run = try Tool.run("explain", "-c", scratch.path("config"), "--json")
        #expect(run.status == 0 && run.output.contains("pkcs11:") && !run.output.contains("1234"))
    }
}
