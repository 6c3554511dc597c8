internal import Foundation
internal import Glibc
internal import System

/// The programs that the build has put beside the tests.
package enum Product {
    /// - Returns: the path of the one called `name`. There is no test without it.
    package static func path(_ name: String) -> String {
        // Under `swift test` the process may be a helper of the toolchain's; the test bundle is an argument then.
        let own = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
        for neighbour in [own] + CommandLine.arguments {
            let path = URL(filePath: neighbour).deletingLastPathComponent().appending(path: name).path
            if FileManager.default.isExecutableFile(atPath: path) { return path }
        }
        fatalError("build the product \(name) first")
    }
}

/// Another program, run to its end.
package struct Command {
    package let status: Int32
    package let output: String
    package let errors: String

    package var text: String { output + errors }

    /// Runs a program of the PATH with what `env` takes before it.
    ///
    /// - Parameter environment: by default that of the tests.
    package init(_ arguments: [String], input: String = "", environment: [String: String]? = nil) throws {
        let files = TemporaryDirectory()
        for name in ["output", "errors"] { files.write("", to: name) }
        let process = Process()
        process.executableURL = URL(filePath: "/usr/bin/env")
        process.arguments = arguments
        if let environment { process.environment = environment }
        process.standardInput = FileHandle(forReadingAtPath: files.write(input, to: "input"))
        process.standardOutput = FileHandle(forWritingAtPath: files.path("output"))
        process.standardError = FileHandle(forWritingAtPath: files.path("errors"))
        try process.run()
        process.waitUntilExit()
        (status, output, errors) = (process.terminationStatus, files.read("output"), files.read("errors"))
    }

    package init(_ arguments: String...) throws { try self.init(arguments) }

    /// Runs one that must work.
    @discardableResult
    package static func run(_ arguments: [String], input: String = "") throws -> String {
        let command = try Command(arguments, input: input)
        guard command.status == 0 else { throw Failure(arguments: arguments, command: command) }
        return command.text
    }

    @discardableResult
    package static func run(_ arguments: String...) throws -> String { try run(arguments) }

    package struct Failure: Error, CustomStringConvertible {
        let arguments: [String]
        let command: Command

        package var description: String {
            "\(arguments.joined(separator: " ")) ended with \(command.status): \(command.text)"
        }
    }
}

/// `openssl` or a GnuTLS tool as the other end, with pipes to its standard input and output. Killed when it goes.
package final class PeerProgram {
    private let process = Process()
    private let input = Pipe()
    private let output = Pipe()
    private let reservation: Int32?
    package private(set) var text = ""

    /// - Parameter reservation: a socket that keeps the port that the program listens on; closed with it.
    package init(_ path: String, _ arguments: [String], keeping reservation: Int32? = nil) throws {
        self.reservation = reservation
        process.executableURL = URL(fileURLWithPath: path)
        process.arguments = arguments
        process.standardInput = input
        process.standardOutput = output
        process.standardError = output
        try process.run()
    }

    /// How OpenSSL prints names: `CN=host`. Its releases have different defaults.
    private static let names = ["-nameopt", "RFC2253"]

    /// `openssl s_server` on a port that the kernel chooses.
    ///
    /// - Parameter namespace: name of the network namespace in which it runs; by default that of the tests.
    package static func opensslServer(
        _ arguments: [String], address: String = "127.0.0.1", in namespace: String? = nil
    ) throws -> (PeerProgram, port: UInt16) {
        let enter = namespace.map { ["ip", "netns", "exec", $0] } ?? []
        let program = try PeerProgram(
            "/usr/bin/env", enter + ["openssl", "s_server", "-accept", "\(address):0"] + names + arguments)
        // ACCEPT 127.0.0.1:34567
        while true {
            if let port = program.text.firstMatch(of: /ACCEPT .*:([0-9]+)\n/)?.1 { return (program, UInt16(port) ?? 0) }
            guard program.read() else { throw SystemError("openssl s_server", ECHILD, program.text) }
        }
    }

    /// `openssl s_client` to a port of the loopback interface.
    package static func opensslClient(_ port: UInt16, _ arguments: [String] = []) throws -> PeerProgram {
        try PeerProgram("/usr/bin/openssl", ["s_client", "-connect", "127.0.0.1:\(port)"] + names + arguments)
    }

    deinit {
        closeInput()
        end()
        if let reservation { close(reservation) }
    }

    package var identifier: Int32 { process.processIdentifier }

    /// Kills it if it has not ended.
    private func end() {
        // SIGTERM is blocked where the broker runs in this process, and children inherit that.
        if process.isRunning { kill(process.processIdentifier, SIGKILL) }
        process.waitUntilExit()
    }

    /// Writes to its standard input.
    package func write(_ text: String) {
        // A peer that has died must not take the tests along.
        signal(SIGPIPE, SIG_IGN)
        let bytes = Array(text.utf8)
        _ = unsafe Glibc.write(input.fileHandleForWriting.fileDescriptor, bytes, bytes.count)
    }

    package func closeInput() { try? input.fileHandleForWriting.close() }

    /// Reads its output until it holds `needle`.
    ///
    /// - Returns: whether it came in time.
    package func wait(for needle: String) -> Bool {
        while !text.contains(needle) {
            guard read() else { return text.contains(needle) }
        }
        return true
    }

    /// Whether its output holds `needle` by now.
    package func hasSaid(_ needle: String) -> Bool {
        var entry = pollfd(fd: output.fileHandleForReading.fileDescriptor, events: Int16(POLLIN), revents: 0)
        while !text.contains(needle), unsafe poll(&entry, 1, 0) == 1 {
            guard read() else { break }
        }
        return text.contains(needle)
    }

    /// Waits for its end, which is that of its connection.
    ///
    /// - Returns: what it said.
    package func finish() -> String {
        while read() {}
        end()
        return text
    }

    /// Reads what there is, waiting for it.
    ///
    /// - Returns: whether more can come.
    private func read() -> Bool {
        let number = output.fileHandleForReading.fileDescriptor
        guard awaitInput(number) else { return false }
        var bytes = [UInt8](repeating: 0, count: 65_536)
        let count = unsafe Glibc.read(number, &bytes, bytes.count)
        guard count > 0 else { return false }
        text += String(decoding: bytes.prefix(count), as: UTF8.self)
        return true
    }
}
