internal import ArgumentParser
internal import FoundationEssentials
internal import Glibc
internal import System

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

    /// Writes whole lines. A reader that has gone is no error of ours: SIGPIPE ends the process, as it does for every
    /// filter.
    func write(_ text: String) {
        Self.write(text.isEmpty || text.hasSuffix("\n") ? text : text + "\n", to: STDOUT_FILENO)
    }

    /// Indented, keys sorted, so that two runs can be compared.
    static func document(_ facts: some Encodable) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        encoder.dateEncodingStrategy = .iso8601
        return String(decoding: try encoder.encode(facts), as: UTF8.self)
    }

    /// A line on standard error.
    static func complain(_ text: String) { write(text + "\n", to: STDERR_FILENO) }

    /// Writes to a descriptor, as much as it takes: where output ends, nobody is left to tell.
    static func write(_ text: String, to descriptor: Int32) {
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            let count = unsafe rest.withUnsafeBytes { raw in
                retrying { unsafe Glibc.write(descriptor, raw.baseAddress, raw.count) }
            }
            guard count > 0 else { return }
            rest = rest.dropFirst(count)
        }
    }
}
