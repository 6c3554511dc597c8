import Testing

@testable import Settings

private let standard = "/etc/tlshd/config"
private let folder = "/etc/tlshd/config.d"

private func load(
    _ files: [String: String], names: [String], explicit: String? = nil
) throws(ConfigurationError) -> LoadedConfiguration {
    try ConfigurationSearch(explicitPath: explicit).load { path throws(ConfigurationError) in
        files[path].map { Array($0.utf8) }
    } list: { path throws(ConfigurationError) in
        guard path == folder else { throw .unreadable(path: path, reason: "asked for it") }
        return names
    }
}

@Suite("Settings from several files")
struct DropInTests {
    @Test("files of the folder are read in the order of their names, and the last that has a key counts")
    func order() throws {
        let files = [
            standard: "[debug]\nloglevel=1\ntls=1\nnl=1\n",
            "\(folder)/10-a.conf": "[debug]\ntls=2\nnl=2\n", "\(folder)/9.conf": "[debug]\n\nnl=3\n",
        ]
        let loaded = try load(files, names: ["9.conf", "10-a.conf"])
        #expect(loaded.source == .file(path: standard))
        #expect(loaded.dropIns == ["\(folder)/10-a.conf", "\(folder)/9.conf"])
        let debug = loaded.settings.debug
        #expect(debug.logLevel == Located(1, origin: .line(file: standard, line: 2)))
        #expect(debug.tls == Located(2, origin: .line(file: "\(folder)/10-a.conf", line: 2)))
        #expect(debug.netlink == Located(3, origin: .line(file: "\(folder)/9.conf", line: 3)))
        #expect(loaded.settings.notices.isEmpty)
    }

    @Test("only names that end in .conf and do not begin with a dot are read, as in a mounted secret")
    func names() throws {
        let names = ["..data", "..2026_11_24", ".hidden.conf", "a.conf~", "a.conf.rpmsave", "README", "a.conf"]
        #expect(try load(["\(folder)/a.conf": ""], names: names).dropIns == ["\(folder)/a.conf"])
    }

    @Test("the folder counts without another file, and not beside one of the command line")
    func alone() throws {
        let files = ["\(folder)/a.conf": "[debug]\nloglevel=4\n", "/x": "[debug]\nloglevel=5\n"]
        let loaded = try load(files, names: ["a.conf"])
        #expect(loaded.source == .defaults && loaded.settings.debug.logLevel.value == 4)
        let explicit = try load(files, names: ["a.conf"], explicit: "/x")
        #expect(explicit.dropIns.isEmpty && explicit.settings.debug.logLevel.value == 5)
    }

    @Test("one broken file refuses them all, with its place")
    func broken() throws {
        let files = [standard: "[debug]\nloglevel=1\n", "\(folder)/a.conf": "[debug]\nloglevel\n"]
        let error = SettingsError(
            file: "\(folder)/a.conf", line: 2, column: 1, problem: .syntax(.missingEquals))
        #expect(throws: ConfigurationError.invalid(error)) { try load(files, names: ["a.conf"]) }
    }

    @Test("a link that leads nowhere refuses them all, as nobody knows what it should have said")
    func dangling() {
        #expect(throws: ConfigurationError.self) { try load([standard: ""], names: ["a.conf"]) }
    }

    @Test("a profile stands in one file; the error names both")
    func twoProfiles() throws {
        let files = [
            "\(folder)/a.conf": "[profile p]\nmatch.role=client\n",
            "\(folder)/b.conf": "\n[profile p]\nx509.truststore=/t\n",
        ]
        let error = SettingsError(
            file: "\(folder)/b.conf", line: 2, column: 1,
            problem: .profile(.repeated(file: "\(folder)/a.conf", line: 1)))
        #expect(throws: ConfigurationError.invalid(error)) { try load(files, names: ["a.conf", "b.conf"]) }
        #expect(error.description.contains("\(folder)/a.conf:1 has a profile of the same name"))
    }

    @Test("profiles are tried in the order of the files")
    func profileOrder() throws {
        let files = [
            standard: "[profile z]\nmatch.role=client\n", "\(folder)/a.conf": "[profile y]\nmatch.role=client\n",
        ]
        #expect(try load(files, names: ["a.conf"]).settings.profiles.map(\.name) == ["z", "y"])
    }

    @Test("notices stand in the order of files and lines")
    func notices() throws {
        let files = [
            standard: "[debug]\nx=1\n[y]\n", "\(folder)/a.conf": "[debug]\nz=1\n",
        ]
        let notices = try load(files, names: ["a.conf"]).settings.notices
        #expect(notices.map(\.line) == [2, 3, 2])
        #expect(notices.map(\.file) == [standard, standard, "\(folder)/a.conf"])
    }
}

@Suite("What is in force, and why")
struct EffectiveSettingTests {
    private func effective(_ settings: DaemonSettings, _ section: String, _ key: String) -> EffectiveSetting? {
        settings.effective.first { $0.section == section && $0.key == key }
    }

    @Test("every known key is there once, with its place or its default")
    func complete() throws {
        let settings = try DaemonSettings.read(Array(Samples.profileSettings.utf8), file: "f")
        let documents = [try INIDocument.parse(Array(Samples.profileSettings.utf8), file: "f")]
        let known = SettingKey.all(in: documents).map(\.name.description)
        #expect(settings.effective.map { "[\($0.section)] \($0.key)" }.sorted() == known.sorted())
        let store = effective(settings, "profile blue server", "x509.truststore")
        #expect(store?.value == "/b/ca.pem" && store?.origin == .line(file: "f", line: 15))
        let list = effective(settings, "profile rest", "x509.crl")
        #expect(list?.value == "none, revocation is not checked" && list?.origin == .builtIn)
        #expect(effective(settings, "namespaces", "names")?.value == "blue;/srv/ns/red;green")
        #expect(effective(settings, "profile blue server", "match.peer_address")?.value == "192.0.2.0/24")
    }

    @Test("what a later file replaces is told, and so is a former name")
    func replaced() throws {
        let documents = [
            try INIDocument.parse(Array("[debug]\ntls=1\n[main]\ntlsdebug=2\n".utf8), file: "a"),
            try INIDocument.parse(Array("[debug]\ntls=3\n".utf8), file: "b"),
        ]
        let setting = effective(try DaemonSettings(documents), "debug", "tls")
        #expect(setting?.value == "3" && setting?.origin == .line(file: "b", line: 2))
        #expect(setting?.replaced == [.line(file: "a", line: 2), .line(file: "a", line: 4)])
    }

    @Test("a value that cannot be read is shown as the default that is in force in its stead")
    func unreadable() throws {
        let setting = effective(try settings("[limits]\nhandshakes=many\n"), "limits", "handshakes")
        #expect(setting?.value == "4096" && setting?.origin == .builtIn)
        #expect(setting?.replaced == [.line(file: "f", line: 2)])
    }

    @Test("a key's URL is cut to its scheme")
    func secrets() throws {
        let text = "[authenticate.client]\nx509.private_key=pkcs11:object=k?pin-value=1234\n"
        #expect(effective(try settings(text), "authenticate.client", "x509.private_key")?.value == "pkcs11:…")
    }
}
