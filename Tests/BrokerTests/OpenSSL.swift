import Foundation
import Glibc

@testable import System

/// `openssl s_client` or `s_server` at the other end; killed when it goes.
final class OpenSSL {
    private let process = Process(), output = Pipe(), input = Pipe()
    private var start = Data()
    /// Where the server listens.
    private(set) var port: UInt16 = 0

    init(client port: UInt16, _ more: [String] = []) throws {
        try run(["s_client", "-connect", "127.0.0.1:\(port)", "-brief"] + more)
    }

    /// A server of one connection, on a port that the kernel chooses.
    init(server certificate: String, key: String, _ more: [String] = []) throws {
        try run(["s_server", "-accept", "127.0.0.1:0", "-cert", certificate, "-key", key, "-naccept", "1"] + more)
        // ACCEPT 127.0.0.1:34567
        var line: Substring?
        while line == nil {
            let more = output.fileHandleForReading.availableData
            guard !more.isEmpty else {
                throw SystemError("openssl s_server", ECHILD, String(decoding: start, as: UTF8.self))
            }
            start += more
            line = String(decoding: start, as: UTF8.self).firstMatch(of: /ACCEPT .*:([0-9]+)\n/)?.1
        }
        port = line.flatMap { UInt16($0) } ?? 0
    }

    private func run(_ arguments: [String]) throws {
        process.executableURL = URL(filePath: "/usr/bin/openssl")
        process.arguments = arguments
        process.standardError = output
        process.standardOutput = output
        process.standardInput = input
        try process.run()
    }

    deinit { kill() }

    /// Makes a client end its connection.
    func closeInput() { try? input.fileHandleForWriting.close() }

    /// Waits for its end, which is that of its connection.
    ///
    /// - Returns: what it said.
    func end() -> String {
        try? wait { !process.isRunning }
        kill()
        return String(decoding: start + output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    }

    private func kill() {
        // SIGTERM is blocked, as it is in the broker.
        if process.isRunning { Glibc.kill(process.processIdentifier, SIGKILL) }
        process.waitUntilExit()
    }
}
