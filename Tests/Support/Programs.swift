internal import Foundation

/// The programs that the build has put beside the tests.
package enum Product {
    /// - Returns: the path of the one called `name`. There is no test without it.
    package static func path(_ name: String) -> String {
        // Under `swift test` the process may be a helper of the toolchain's; the test bundle is an argument then.
        let own = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
        let neighbours = ([own] + CommandLine.arguments).map { URL(filePath: $0) } + Bundle.allBundles.map(\.bundleURL)
        for neighbour in neighbours {
            let path = neighbour.deletingLastPathComponent().appending(path: name).path
            if FileManager.default.isExecutableFile(atPath: path) { return path }
        }
        fatalError("build the product \(name) first")
    }
}

/// Another program, run to its end.
package struct Command {
    package let status: Int32
    /// What it said, on standard output and standard error.
    package let text: String

    /// Runs a program of the PATH with what `env` takes before it, and nothing on its standard input.
    package init(_ arguments: [String]) throws {
        let process = Process(), output = Pipe()
        process.executableURL = URL(filePath: "/usr/bin/env")
        process.arguments = arguments
        process.standardOutput = output
        process.standardError = output
        process.standardInput = FileHandle.nullDevice
        try process.run()
        text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        status = process.terminationStatus
    }

    package init(_ arguments: String...) throws { try self.init(arguments) }

    /// Runs one that must work.
    @discardableResult
    package static func run(_ arguments: [String]) throws -> String {
        let command = try Command(arguments)
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
