internal import ArgumentParser
internal import System

/// Result of a command or of a check: the one vocabulary of text, JSON and exit statuses. From harmless to serious.
enum Status: String, Sendable, Encodable, CaseIterable, Comparable {
    case ok
    /// Nothing is wrong; there is something worth knowing.
    case note
    /// It works now, but not permanently or not for every peer.
    case warning
    /// It could not be found out.
    case unknown
    /// Handshakes fail, or cannot take place.
    case failed

    static func < (left: Status, right: Status) -> Bool {
        allCases.firstIndex(of: left) ?? 0 < allCases.firstIndex(of: right) ?? 0
    }

    /// The word in text; upper case for what needs attention.
    var label: String { self <= .note ? rawValue : rawValue.uppercased() }

    var style: Style? {
        switch self {
        case .ok: .good
        case .note: nil
        case .warning, .unknown: .warning
        case .failed: .bad
        }
    }

    var exit: ExitStatus {
        switch self {
        case .ok, .note: .success
        case .warning: .warning
        case .unknown: .unavailable
        case .failed: .failure
        }
    }
}

/// Result of a command. Its encoding is `data` of the JSON document; tlshctl-json(5).
protocol Report: Encodable {
    var status: Status { get }
    /// One line: the worst problem with its remedy, or the result. It does not repeat the status.
    var summary: String { get }
    /// Performance data for monitoring systems: names, and numbers with their unit.
    var figures: [(name: String, value: String)] { get }
    func text(on terminal: Terminal) -> String
}

extension Report {
    var figures: [(name: String, value: String)] { [] }

    /// First line of the text: the status and the summary.
    func headline(_ terminal: Terminal) -> String {
        let line = Table.printable("\(status.label): \(summary)")
        return status.style.map { terminal.styled(line, $0) } ?? line
    }
}

/// Document that `--json` prints.
struct Document<Data: Report>: Encodable {
    /// Version of the contract: incremented when a key is removed, or changes its name, type or meaning.
    let version = 1
    /// Names of command and subcommand; they determine the keys of `data`.
    let command: String
    let status: Status
    let summary: String
    let data: Data

    init(_ report: Data, of command: String) {
        self.command = command
        status = report.status
        summary = Table.printable(report.summary)
        data = report
    }
}

/// A command with the option `--json`.
protocol PrintsFacts: ParsableCommand {
    /// Name of the command in documents.
    var commandName: String { get }
    var output: OutputOptions { get }
    /// True with the option `--nagios`.
    var nagios: Bool { get }
}

extension PrintsFacts {
    var commandName: String { Self.configuration.commandName ?? "" }
    var nagios: Bool { false }

    /// Prints a result, and ends the command with its status.
    func finish(_ report: some Report) throws {
        guard !nagios else {
            let line = PluginLine(report)
            output.output.write(line.text)
            throw ExitCode(line.status.rawValue)
        }
        try output.output.show(report, of: commandName)
        try report.status.exit.finish()
    }
}

/// Output of a plugin for Nagios and the monitoring systems that run its plugins (Monitoring Plugins Development
/// Guidelines): a line, with performance data after the first `|`, and an exit status of its own.
struct PluginLine {
    enum ServiceStatus: Int32 {
        case ok = 0
        case warning = 1
        case critical = 2
        case unknown = 3
    }

    static let help: ArgumentHelp = "Print a line for Nagios, and exit with its statuses: 0, 1, 2 or 3."

    let status: ServiceStatus
    let text: String

    init(_ report: some Report) {
        status =
            switch report.status {
            case .ok, .note: .ok
            case .warning: .warning
            case .unknown: .unknown
            case .failed: .critical
            }
        let summary = Table.printable(report.summary).replacing("|", with: "/")
        let figures = report.figures.map { "\($0.name)=\($0.value)" }.joined(separator: " ")
        text = "TLSHD \("\(status)".uppercased()) - \(summary)" + (figures.isEmpty ? "" : " | \(figures)")
    }
}

/// A command cannot do anything. `main` prints the summary and exits with the status. Its `data` is `null`.
struct CommandError: Error, Report {
    let summary: String
    let status: Status

    init(_ text: String, _ status: Status = .failed) {
        summary = text
        self.status = status
    }

    func text(on terminal: Terminal) -> String { headline(terminal) }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encodeNil()
    }
}

/// An optional value that is `null` in JSON. The synthesized encoding omits the key of a `nil`.
@propertyWrapper struct OrNull<Value: Encodable>: Encodable {
    var wrappedValue: Value?

    init(wrappedValue: Value?) { self.wrappedValue = wrappedValue }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        if let wrappedValue { try container.encode(wrappedValue) } else { try container.encodeNil() }
    }
}

extension OrNull: Sendable where Value: Sendable {}
extension OrNull: Equatable where Value: Equatable {}
