internal import ArgumentParser
internal import Foundation
internal import Glibc

/// What every command that prints facts takes.
struct OutputOptions: ParsableArguments {
    @Flag(name: .long, help: "Print JSON instead of text.")
    var json = false

    @Option(name: .long, help: "Colours: auto (on a terminal, unless NO_COLOR is set), always or never.")
    var color = ColorChoice.auto

    /// Standard output as it is to be written to.
    var output: Output { Output(json: json, terminal: .of(STDOUT_FILENO, json ? .never : color)) }
}

/// Standard output: text for people, or one JSON document.
struct Output: Sendable {
    let json: Bool
    let terminal: Terminal

    /// Prints the facts as JSON, or what `text` says about them.
    func show(_ facts: some Encodable, text: (Terminal) -> String) throws {
        write(json ? try Self.document(facts) : text(terminal))
    }

    /// Writes whole lines. A reader that has gone is no error of ours: SIGPIPE ends the process, as it does for every filter.
    func write(_ text: String) {
        let lines = text.isEmpty || text.hasSuffix("\n") ? text : text + "\n"
        FileHandle.standardOutput.write(Data(lines.utf8))
    }

    /// Indented, keys sorted, so that two runs can be compared.
    static func document(_ facts: some Encodable) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        encoder.dateEncodingStrategy = .iso8601
        return String(decoding: try encoder.encode(facts), as: UTF8.self)
    }

    /// A line on standard error.
    static func complain(_ text: String) {
        FileHandle.standardError.write(Data((text + "\n").utf8))
    }
}
