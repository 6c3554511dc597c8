internal import ArgumentParser
internal import FoundationEssentials
internal import Glibc
internal import Handshake
internal import Policy
internal import System

/// Options of every command that prints facts.
struct OutputOptions: ParsableArguments {
    @Flag(name: .long, help: "Print JSON instead of text.")
    var json = false

    @Option(name: .long, help: "Colours: auto (on a terminal, unless NO_COLOR is set), always or never.")
    var color = ColorChoice.auto

    /// Standard output, configured by the options.
    var output: Output { Output(json: json, terminal: .of(StandardStreams.output, json ? .never : color)) }
}

/// Standard output: text, or one JSON document.
struct Output: Sendable {
    let json: Bool
    let terminal: Terminal

    /// Prints the facts as JSON, or as formatted by `text`.
    func show(_ facts: some Encodable, text: (Terminal) -> String) throws {
        write(json ? try Self.document(facts) : text(terminal))
    }

    /// Writes whole lines. If the reader is gone, SIGPIPE ends the process as usual for a filter. Other write errors
    /// are reported and end the process too, because the output was not delivered.
    func write(_ text: String) {
        let lines = text.isEmpty || text.hasSuffix("\n") ? text : text + "\n"
        do throws(SystemError) {
            try OwnedDescriptor.write(Array(lines.utf8).span, to: StandardStreams.output, "standard output")
        } catch {
            if error.number != .epipe { Self.printError("tlshctl: \(error.description)") }
            ThisProcess.exit(ExitStatus.unavailable.rawValue)
        }
    }

    /// Formats JSON, indented and with sorted keys, so that two runs can be compared. Control characters are escaped,
    /// because names come from peers and a document may be displayed on a terminal.
    static func document(_ facts: some Encodable) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        encoder.dateEncodingStrategy = .iso8601
        var document = String.UnicodeScalarView()
        for scalar in String(decoding: try encoder.encode(facts), as: UTF8.self).unicodeScalars {
            guard scalar != "\n", scalar.isControlling else {
                document.append(scalar)
                continue
            }
            for unit in String(scalar).utf16 {
                let digits = String(unit, radix: 16)
                document.append(
                    contentsOf: "\\u\(String(repeating: "0", count: 4 - digits.count))\(digits)".unicodeScalars)
            }
        }
        return String(document)
    }

    /// Writes a line to standard error.
    static func printError(_ text: String) { ThisProcess.printError(text + "\n") }
}

/// Standard descriptors 0 to 2.
enum StandardStreams {
    static let input: Int32 = 0
    static let output: Int32 = 1
    static let error: Int32 = 2

    /// Opens /dev/null for standard descriptors that are closed, so that no connection or key file gets their number
    /// and is written to as output. Using them still fails.
    static func claim() {
        for number in [input, output, error] where !OwnedDescriptor.isOpen(number) {
            _ = unsafe open("/dev/null", number == input ? O_WRONLY : O_RDONLY)
        }
    }
}
