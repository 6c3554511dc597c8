internal import ArgumentParser
internal import FoundationEssentials
internal import Glibc
internal import Handshake
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
    /// filter. Anything else that keeps the output back ends it, too, and is told: nobody has read the verdict.
    func write(_ text: String) {
        let lines = text.isEmpty || text.hasSuffix("\n") ? text : text + "\n"
        guard !Self.write(lines, to: STDOUT_FILENO) else { return }
        let error = SystemError.last("write", "standard output")
        if error.number != EPIPE { Self.complain("tlshctl: \(error.description)") }
        Glibc.exit(ExitStatus.unavailable.rawValue)
    }

    /// Indented, keys sorted, so that two runs can be compared. What could move a cursor is escaped: names come from
    /// peers, and a document may be looked at on a terminal.
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

    /// A line on standard error.
    static func complain(_ text: String) { write(text + "\n", to: STDERR_FILENO) }

    /// Writes to a descriptor, as much as it takes.
    ///
    /// - Returns: whether that was all; if not, errno tells why.
    @discardableResult
    static func write(_ text: String, to descriptor: Int32) -> Bool {
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            let count = unsafe rest.withUnsafeBytes { raw in
                retrying { unsafe Glibc.write(descriptor, raw.baseAddress, raw.count) }
            }
            guard count > 0 else { return false }
            rest = rest.dropFirst(count)
        }
        return true
    }
}

/// The descriptors 0 to 2.
enum StandardStreams {
    /// Takes the numbers of those that were closed, so that no connection or key file gets one and is written to as if
    /// it were output. Using them fails as before.
    static func claim() {
        for number in [STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO] where fcntl(number, F_GETFD) < 0 {
            _ = unsafe open("/dev/null", number == STDIN_FILENO ? O_WRONLY : O_RDONLY)
        }
    }
}
