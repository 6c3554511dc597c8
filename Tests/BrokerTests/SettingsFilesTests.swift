import Foundation
import Glibc
import Handshake
import Settings
import TestSupport
import Testing
import Unconfined

@testable import Broker

/// Who may have written the settings. Giving files away takes root, as the daemon itself does.
@Suite("Files of the settings", .enabled(if: geteuid() == 0))
struct SettingsFilesTests {
    private let folder = TemporaryDirectory()

    private func give(_ path: String, to owner: Int) throws {
        try FileManager.default.setAttributes([.ownerAccountID: owner], ofItemAtPath: path)
    }

    private func refusal(_ path: String) throws -> ConfigurationError {
        try #require(throws: ConfigurationError.self) {
            try ConfigurationSearch(explicitPath: path).load(read: SettingsFiles.read, list: SettingsFiles.list)
        }
    }

    @Test("one that is another user's is refused, and taken when it is root's")
    func file() throws {
        let path = folder.write(Array("[debug]\n".utf8), to: "config")
        try give(path, to: 65534)
        let text = "\(path): is refused (it belongs to uid 65534, who can change it); chown root \(path)"
        #expect(try refusal(path).description == text)
        try give(path, to: 0)
        #expect(try SettingsFiles.read(path) == Array("[debug]\n".utf8))
    }

    @Test("one that is too long is refused, with its size")
    func size() throws {
        let path = folder.write([UInt8](repeating: 10, count: 10_000_000), to: "config")
        let text =
            "\(path): is refused (it has 10000000 bytes, and tlshd reads at most 4194304); check that it is the right file, "
        #expect(try refusal(path).description.hasPrefix(text))
    }

    @Test("one in a folder that is another user's is refused, however far above, and by whatever link it is reached")
    func folders() throws {
        let inner = folder.path("a/b")
        try FileManager.default.createDirectory(atPath: inner, withIntermediateDirectories: true)
        let path = folder.write([], to: "a/b/config")
        let link = folder.path("link")
        try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: path)
        for culprit in [inner, folder.path("a")] {
            try give(culprit, to: 65534)
            for path in [path, link] {
                let text = try refusal(path).description
                #expect(text.contains("\(culprit) belongs to uid 65534, who can replace what is in it"), "\(text)")
                #expect(text.hasSuffix("; chown root \(culprit), then reload tlshd"))
            }
            #expect(throws: ConfigurationError.self) { try SettingsFiles.list(inner) }
            try give(culprit, to: 0)
        }
        #expect(try SettingsFiles.read(link) == [] && SettingsFiles.list(inner) == ["config"])
    }

    @Test("session tags are refused likewise, and an empty folder of another user's is no empty folder")
    func tags() throws {
        let log = DaemonLog(Journal(.automatic), level: 0)
        let path = folder.write(Array("tags: {}\n".utf8), to: "a.yml")
        try give(path, to: 65534)
        #expect(throws: TextError.self) { try TagFolder(folder.path, log: log) }
        try FileManager.default.removeItem(atPath: path)
        try give(folder.path, to: 65534)
        #expect(throws: TextError.self) { try TagFolder(folder.path, log: log) }
        try give(folder.path, to: 0)
        #expect(throws: Never.self) { try TagFolder(folder.path, log: log) }
    }

    @Test("what is refused at a reload leaves the former settings, with an error")
    func reload() throws {
        let receiver = JournalReceiver(in: folder)
        let log = DaemonLog(Journal(.automatic, socketPath: receiver.path), level: 0)
        var options = DaemonOptions()
        let path = folder.write(Array("[debug]\nloglevel=1\n".utf8), to: "config")
        options.configuration = path
        var configuration = try Configuration(options: options, log: log)
        _ = folder.write(Array("[debug]\nloglevel=2\n".utf8), to: "config")
        try give(path, to: 65534)
        let isRefused = !configuration.refresh(force: false, patience: BrokerBench.patience, log: log)
        #expect(isRefused)
        #expect(configuration.settings.debug.logLevel.value == 1)
        #expect(configuration.problem.contains("belongs to uid 65534"))
        try give(path, to: 0)
        let isOther = configuration.refresh(force: false, patience: BrokerBench.patience, log: log)
        #expect(isOther && configuration.problem.isEmpty)
        #expect(configuration.settings.debug.logLevel.value == 2)
        #expect(receiver.lines().contains { $0["MESSAGE"]?.contains("chown root") == true })
    }

    @Test("a mounted ConfigMap is read: links of any mode that lead to files of root's")
    func configMap() throws {
        try FileManager.default.createDirectory(atPath: folder.path("..2026"), withIntermediateDirectories: true)
        _ = folder.write(Array("[debug]\n".utf8), to: "..2026/10.conf")
        for (link, target) in [("..data", "..2026"), ("10.conf", "..data/10.conf")] {
            try FileManager.default.createSymbolicLink(atPath: folder.path(link), withDestinationPath: target)
        }
        #expect(try SettingsFiles.read(folder.path("10.conf")) == Array("[debug]\n".utf8))
        #expect(SettingsExposure.findings(files: [folder.path("10.conf")], folders: [folder.path]).isEmpty)
    }

    @Test("folders that are searched for files must not be writable, sticky or not; those above may be sticky")
    func searched() throws {
        let inner = folder.path("config.d")
        try FileManager.default.createDirectory(atPath: inner, withIntermediateDirectories: true)
        for (mode, findings) in [(0o755, 0), (0o1777, 1), (0o777, 1), (0o775, 1)] {
            try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: inner)
            #expect(SettingsExposure.findings(files: [], folders: [inner]).count == findings)
        }
        try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: inner)
        try give(inner, to: 65534)
        let finding = try #require(SettingsExposure.findings(files: [], folders: [inner]).first)
        #expect(finding.text == "\(inner) belongs to uid 65534, who can change the settings")
        #expect(finding.remedy == "chown root \(inner)")
    }
}
