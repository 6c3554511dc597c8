import Control
import Foundation
import Glibc
import Handshake
import Settings
import System
import TestSupport
import Testing
import Unconfined

@testable import Broker

/// The file that node_exporter reads.
@Suite("Figures in a file")
struct MetricsFileTests {
    private let folder = TemporaryDirectory()
    private var path: String { folder.path("tlshd.prom") }

    private func content(_ path: String) -> String? {
        FileManager.default.contents(atPath: path).map { String(decoding: $0, as: UTF8.self) }
    }

    private func inode(_ path: String) throws -> UInt64 { try FileIdentity(ofPath: path).inode }

    @Test("It is replaced when figures have changed, every five seconds at most, and every fifteen in any case")
    func times() throws {
        let file = MetricsFile()
        #expect(file.refresh(path: path, now: 1) { "one\n" }.isEmpty)
        #expect(content(path) == "one\n")
        // It is held open, so that its number is not used again.
        let held = try FileHandle(forReadingFrom: URL(fileURLWithPath: path))
        defer { try? held.close() }
        let first = try inode(path)
        #expect(file.refresh(path: path, now: MetricsFile.pause) { "two\n" }.isEmpty)
        #expect(content(path) == "one\n", "too soon")
        #expect(file.refresh(path: path, now: 1 + MetricsFile.pause) { "one\n" }.isEmpty)
        #expect(try inode(path) == first, "the same figures")
        #expect(file.refresh(path: path, now: 1 + MetricsFile.period) { "one\n" }.isEmpty)
        #expect(try inode(path) != first, "so that its age tells that the daemon lives")
        #expect(
            String(decoding: try held.readToEnd() ?? Data(), as: UTF8.self) == "one\n", "who reads is not disturbed")
        #expect(file.refresh(path: path, now: 1 + MetricsFile.period + MetricsFile.pause) { "two\n" }.isEmpty)
        #expect(content(path) == "two\n")
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path) == ["tlshd.prom"])
    }

    @Test("Everybody may read it, whatever the mask")
    func mode() async {
        // The mask is the whole process's, and other tests look at it.
        await #expect(processExitsWith: .success) {
            umask(0o077)
            let directory = TemporaryDirectory()
            let path = directory.path("tlshd.prom")
            #expect(MetricsFile().refresh(path: path, now: 1) { "one\n" }.isEmpty)
            let mode = try FileIdentity(ofPath: path).mode
            #expect(mode & 0o7777 == 0o644)
        }
    }

    @Test("What is wrong with the place is said once, with the remedy, and it goes on when that is mended")
    func trouble() throws {
        let file = MetricsFile()
        let inner = folder.path("missing")
        let path = inner + "/tlshd.prom"
        let problem = try #require(file.refresh(path: path, now: 1) { "one\n" }.first?.text)
        #expect(
            problem
                == "figures cannot be written: open a new file in the place of \(path): No such file or directory "
                + "(ENOENT); remedy: make the folder that [metrics] textfile= names")
        #expect(file.problem == problem)
        #expect(file.refresh(path: path, now: 1 + MetricsFile.pause) { "one\n" }.isEmpty, "once")
        try FileManager.default.createDirectory(atPath: inner, withIntermediateDirectories: true)
        #expect(file.refresh(path: path, now: 1 + 2 * MetricsFile.pause) { "one\n" }.isEmpty)
        #expect(file.problem.isEmpty && content(path) == "one\n")
        let moved = file.refresh(path: "/proc/tlshd.prom", now: 2) { "one\n" }
        #expect(moved.first?.text.contains("/proc/tlshd.prom") == true)
        #expect(content(path) == nil, "the file at the former place is taken away")
    }

    @Test("A link that somebody has prepared is not followed")
    func links() throws {
        let other = folder.path("other")
        try Data("mine".utf8).write(to: URL(fileURLWithPath: other))
        for link in [path, path + ".new"] {
            try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: other)
        }
        #expect(MetricsFile().refresh(path: path, now: 1) { "one\n" }.isEmpty)
        #expect(content(other) == "mine" && content(path) == "one\n")
    }

    @Test("The daemon writes it while the settings want it, and shows in its status what is wrong")
    func daemon() throws {
        let settings = URL(filePath: folder.path("tlshd.conf"))
        func write(_ textfile: String) throws {
            try Data("[control]\nsocket=none\n[metrics]\ntextfile=\(textfile)\n".utf8).write(to: settings)
        }
        try write("none")
        var options = DaemonOptions()
        options.configuration = settings.path
        let all = KernelTLSCapabilities(ciphers: Set(KernelCipher.allCases), limitsTransmitPayload: false)
        let broker = try Broker(options: options, surroundings: Surroundings(kernelTLS: all, worker: "/bin/false"))
        defer { broker.endProcesses() }
        broker.reload.patience = BrokerBench.patience
        broker.reload.look()
        broker.control.writeMetrics(1)
        #expect(content(path) == nil)
        try write(path)
        broker.reload.look()
        broker.control.writeMetrics(1)
        let text = try #require(content(path))
        #expect(text.hasPrefix("# HELP tlshd_build_info") && !text.contains("# EOF") && !text.contains("# UNIT"))
        #expect(text.contains("\ntlshd_problems 2\n"), "no worker, no namespace")
        try write(folder.path("missing/tlshd.prom"))
        broker.reload.look()
        broker.control.writeMetrics(2)
        #expect(content(path) == nil)
        #expect(broker.control.report().problems.contains { $0.text.hasPrefix("figures cannot be written: ") })
        try write(path)
        broker.reload.look()
        broker.become(.serving)
        broker.become(.awaitingReplacement)
        broker.control.writeMetrics(3)
        #expect(content(path) == nil, "that is the successor's")
    }
}
