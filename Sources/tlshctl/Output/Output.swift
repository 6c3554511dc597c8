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

    /// The same for commands that do not end; their JSON is JSON lines.
    var stream: Output { Output(json: json, terminal: output.terminal, isStream: true) }
}

/// Standard output: text, or one JSON document.
struct Output: Sendable {
    let json: Bool
    let terminal: Terminal
    /// True for JSON lines: a document a line.
    var isStream = false

    /// Prints a result as text or as a document.
    func show<Result: Report>(_ report: Result, of command: String) throws {
        write(json ? try Self.document(Document(report, of: command), inOneLine: isStream) : report.text(on: terminal))
    }

    /// Value in a report that stands for a secret: no argument and no name in a file has this character.
    static let placeholder = "\0"

    /// Prints a document with a secret, which is copied only into memory that is wiped. The first bytes of `secret`
    /// are written in the place of the placeholder, if the report has it; they need no escape in JSON.
    func show(
        _ report: some Report, of command: String, with secret: borrowing SecretBuffer, length: Int
    ) throws {
        let document = try Self.document(Document(report, of: command)) + "\n"
        let parts = document.split(separator: "\"\\u0000\"", maxSplits: 1)
        guard parts.count == 2 else { return write(document) }
        deliver(Array("\(parts[0])\"".utf8).span)
        write(secret, length: length)
        deliver(Array("\"\(parts[1])".utf8).span)
    }

    /// Writes the first bytes of a secret.
    func write(_ secret: borrowing SecretBuffer, length: Int) {
        secret.withSpan(first: length) { deliver($0) }
    }

    /// Writes whole lines.
    func write(_ text: String) {
        let lines = text.isEmpty || text.hasSuffix("\n") ? text : text + "\n"
        deliver(Array(lines.utf8).span)
    }

    /// If the reader is gone, SIGPIPE ends the process as usual for a filter. Other write errors are reported and end
    /// the process too, because the output was not delivered.
    private func deliver(_ bytes: Span<UInt8>) {
        do throws(SystemError) {
            try OwnedDescriptor.write(bytes, to: StandardStreams.output, "standard output")
        } catch {
            if error.number != .epipe { Self.printError("tlshctl: \(error.description)") }
            ThisProcess.exit(ExitStatus.unavailable.rawValue)
        }
    }

    /// Formats JSON with sorted keys, so that two runs can be compared. Control characters are escaped: names come from
    /// peers, and a document may be displayed on a terminal.
    static func document(_ facts: some Encodable, inOneLine: Bool = false) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        if !inOneLine { encoder.outputFormatting.insert(.prettyPrinted) }
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

/// A table with headings and columns of minimum width. The last column wraps at the width of the terminal.
struct Table {
    /// A cell with its style.
    struct Cell: ExpressibleByStringInterpolation {
        let text: String
        let style: Style?

        init(_ text: String, _ style: Style? = nil) {
            self.text = Table.printable(text)
            self.style = style
        }

        init(stringLiteral text: String) { self.init(text) }
    }

    private let headings: [String]
    private var rows: [[Cell]] = []
    private let indent: Int

    /// - Parameters:
    ///   - headings: one per column; empty for a table without headings.
    ///   - indent: number of blanks before each line.
    init(_ headings: [String] = [], indent: Int = 0) {
        self.headings = headings
        self.indent = indent
    }

    var isEmpty: Bool { rows.isEmpty }

    mutating func add(_ cells: [Cell]) { rows.append(cells) }

    /// All lines, each with a line feed; empty if there are no rows.
    func text(on terminal: Terminal) -> String {
        guard !rows.isEmpty else { return "" }
        let head = headings.isEmpty ? [] : [headings.map { Cell($0, .dim) }]
        let all = head + rows
        let count = all.map(\.count).max() ?? 0
        let widths = (0..<count).map { column in
            all.compactMap { $0.indices.contains(column) ? $0[column].text.count : nil }.max() ?? 0
        }
        return all.map { line($0, widths, terminal) + "\n" }.joined()
    }

    private func line(_ cells: [Cell], _ widths: [Int], _ terminal: Terminal) -> String {
        var text = String(repeating: " ", count: indent)
        var used = indent
        for (column, cell) in cells.enumerated() {
            let isLast = column == cells.count - 1
            let room = isLast ? terminal.width.map { $0 - used } : nil
            let lines = room.map { Self.wrapped(cell.text, to: $0) } ?? [cell.text]
            let shown = lines.map { line in cell.style.map { terminal.styled(line, $0) } ?? line }
            text += shown.joined(separator: "\n" + String(repeating: " ", count: used))
            guard !isLast else { break }
            text += String(repeating: " ", count: widths[column] - cell.text.count + 2)
            used += widths[column] + 2
        }
        return text
    }

    /// Wraps at blanks; returns the text unchanged if there is too little room or no blank.
    private static func wrapped(_ text: String, to room: Int) -> [String] {
        guard text.count > room, room >= leastRoom else { return [text] }
        var lines: [String] = []
        for word in text.split(separator: " ", omittingEmptySubsequences: false) {
            if let last = lines.last, last.count + 1 + word.count <= room {
                lines[lines.count - 1] = "\(last) \(word)"
            } else {
                lines.append(String(word))
            }
        }
        return lines
    }

    private static let leastRoom = 16

    /// Replaces control characters: names come from peers and files, and must not control the terminal.
    static func printable(_ text: String) -> String {
        String(
            String.UnicodeScalarView(
                text.unicodeScalars.map { $0.isControlling ? "\u{FFFD}" : $0 }))
    }
}

/// Properties of the output: colours and width.
struct Terminal: Sendable, Equatable {
    /// True if text is styled.
    var isStyled: Bool
    /// Number of columns; `nil` if it is not a terminal, and lines are not wrapped.
    var width: Int?

    /// Styled on a capable terminal, unless the user disabled it (https://no-color.org: NO_COLOR is set and not empty).
    static func of(_ descriptor: Int32, _ choice: ColorChoice) -> Terminal {
        let isTerminal = isTerminal(descriptor)
        let environment = ProcessInfo.processInfo.environment
        let isPlain = environment["NO_COLOR"].map { !$0.isEmpty } ?? false || environment["TERM"] == "dumb"
        let isStyled =
            switch choice {
            case .auto: isTerminal && !isPlain
            case .always: true
            case .never: false
            }
        return Terminal(isStyled: isStyled, width: isTerminal ? columns(of: descriptor) : nil)
    }

    /// True if a descriptor is that of a terminal.
    static func isTerminal(_ descriptor: Int32) -> Bool { isatty(descriptor) == 1 }

    /// Waits before what is displayed is updated.
    static func pause(_ duration: Duration) { usleep(UInt32(duration / .microseconds(1))) }

    private static func columns(of descriptor: Int32) -> Int {
        var size = winsize()
        guard unsafe ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return 80 }
        return Int(size.ws_col)
    }

    /// Applies a style, if styles are enabled.
    func styled(_ text: String, _ style: Style) -> String {
        isStyled && !text.isEmpty ? "\u{1B}[\(style.rawValue)m\(text)\u{1B}[0m" : text
    }
}

/// Text style (ECMA-48, SGR).
enum Style: String, Sendable {
    case bold = "1"
    case dim = "2"
    case good = "32"
    case warning = "33"
    case bad = "1;31"
}

/// `--color`.
enum ColorChoice: String, ExpressibleByArgument, CaseIterable, Sendable {
    case auto
    case always
    case never
}

/// Prints on standard error what the command waits for, after 2 seconds; on a terminal with the elapsed time, and
/// removed at the end.
struct Progress: ~Copyable {
    private let text: String
    private let isLive: Bool
    private let start = ContinuousClock.now
    private var shown: Int64?

    /// Delay before anything is printed.
    static let patience = Duration.seconds(2)

    /// - Parameter text: the activity, such as `waiting for 192.0.2.7:2049`.
    init(_ text: String) {
        self.text = Table.printable(text)
        isLive = Terminal.isTerminal(StandardStreams.error)
    }

    /// Updates the display. Call it a few times a second.
    mutating func tick() {
        let elapsed = ContinuousClock.now - start
        guard elapsed >= Self.patience else { return }
        let seconds = elapsed.components.seconds
        if isLive, shown != seconds {
            ThisProcess.printError("\r\u{1B}[K\(text), \(seconds) s")
        } else if shown == nil {
            ThisProcess.printError("\(text)\n")
        }
        shown = seconds
    }

    /// Removes the line.
    deinit {
        if isLive, shown != nil { ThisProcess.printError("\r\u{1B}[K") }
    }
}
