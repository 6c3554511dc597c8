internal import ArgumentParser
internal import Control
internal import FoundationEssentials
internal import Handshake
internal import Policy

/// `tlshctl handshakes`: the last handshakes.
struct HandshakesCommand: PrintsFacts {
    static let configuration = CommandConfiguration(
        commandName: "handshakes", abstract: "Show the last handshakes of the running tlshd, the newest first.")

    @Argument(help: "How many; tlshd keeps the last 256.")
    var count = 20

    @Flag(name: .long, help: "Show failed handshakes only.")
    var failed = false

    @Option(
        name: .long,
        help: ArgumentHelp(
            "Show handshakes with this peer only: its address, or the name it is mounted by.", valueName: "host"))
    var peer: String?

    @Option(
        name: .long,
        help: ArgumentHelp(
            "Show handshakes since this time only: 2026-11-30T10:00:00Z, or 10m for the last ten minutes (s, m, h, d).",
            valueName: "time"))
    var since: Moment?

    @Flag(name: .long, help: "Continue with each handshake as it ends, the newest last, until interrupted.")
    var watch = false

    @OptionGroup var link: DaemonLink
    @OptionGroup var output: OutputOptions

    func validate() throws {
        guard (1...1_000_000).contains(count) else { throw ValidationError("the number must be from 1 to 1000000") }
    }

    private struct Answer: Decodable {
        let handshakes: [HandshakeRecord]
    }

    func run() throws {
        if watch { try follow(on: output.stream) }
        let records: [HandshakeRecord]
        do throws(CommandError) {
            // A filter applies to all records.
            let answer = try link.ask(.handshakes(isFiltering ? HandshakeHistory.capacity : count), as: Answer.self)
            records = Array(answer.handshakes.filter(isWanted).prefix(count))
        } catch {
            return try finish(error)
        }
        try finish(HandshakesReport(records: records, isFiltered: isFiltering))
    }

    private var isFiltering: Bool { failed || peer != nil || since != nil }

    private func isWanted(_ record: HandshakeRecord) -> Bool {
        guard !failed || !record.succeeded, record.time >= since?.seconds ?? .min else { return false }
        guard let peer = peer.map(PeerName.init) else { return true }
        let address = PeerAddress(socketAddress: record.peer).address
        let names = [String(address), record.peerName].map { PeerName($0.lowercased()) }
        return names.contains(PeerName(peer.description.lowercased()))
    }

    /// Prints a line with reason and remedy for each handshake; with `--json` a document each.
    private func follow(on output: Output) throws -> Never {
        var seen: [HandshakeRecord] = []
        var complaint = ""
        while true {
            do throws(CommandError) {
                // Requests all records, so that none is missed between two requests.
                let newest = try link.ask(.handshakes(max(count, HandshakeHistory.capacity)), as: Answer.self)
                    .handshakes
                let fresh = Self.fresh(newest, since: seen).filter(isWanted).prefix(seen.isEmpty ? count : .max)
                for record in fresh.reversed() {
                    try? output.show(HandshakesReport(records: [record], isTable: false), of: commandName)
                }
                seen = newest
                complaint = ""
            } catch {
                if error.summary != complaint { Output.printError("tlshctl: \(Table.printable(error.summary))") }
                complaint = error.summary
            }
            Terminal.pause(.seconds(1))
        }
    }

    /// Records that are newer than the previous list: those before the position at which the previous list continues.
    /// After a restart of tlshd all are new.
    static func fresh(_ newest: [HandshakeRecord], since former: [HandshakeRecord]) -> ArraySlice<HandshakeRecord> {
        guard !former.isEmpty else { return newest[...] }
        let start = newest.indices.first { newest[$0...].elementsEqual(former.prefix(newest.count - $0)) }
        return newest[..<(start ?? newest.endIndex)]
    }
}

/// Handshakes: a table, or a line each with reason and remedy.
private struct HandshakesReport: Report {
    let records: [HandshakeRecord]
    var isFiltered = false
    var isTable = true

    private var failures: Int { records.count { !$0.succeeded } }

    var status: Status { failures > 0 ? .note : .ok }

    var summary: String {
        guard !records.isEmpty else { return isFiltered ? "no handshake matches" : "no handshakes yet" }
        return "\(records.count.counted("handshake")), \(failures) failed"
    }

    private enum CodingKeys: CodingKey {
        case handshakes
    }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(records.map(HandshakeFacts.init), forKey: .handshakes)
    }

    func text(on terminal: Terminal) -> String {
        guard !records.isEmpty else { return summary }
        guard isTable else {
            return records.map { record in
                let text = Table.printable("\(instant(record.time)) \(record.text)")
                return terminal.styled(text, record.succeeded ? .good : .bad) + "\n"
            }.joined()
        }
        var table = Table(["TIME", "CONSUMER", "PEER", "RESULT", "MS", "REASON"])
        for record in records {
            let peer = record.peerName.isEmpty ? record.peer : "\(record.peerName) (\(record.peer))"
            table.add([
                Table.Cell(instant(record.time)), Table.Cell(record.consumer), Table.Cell(peer),
                Table.Cell(record.succeeded ? "success" : record.status, record.succeeded ? .good : .bad),
                Table.Cell("\(record.milliseconds)"), Table.Cell(record.reason.isEmpty ? "-" : record.reason),
            ])
        }
        return table.text(on: terminal)
    }
}

/// A point in time: RFC 3339, or a number of seconds, minutes, hours or days ago.
struct Moment: ExpressibleByArgument, Equatable {
    /// Seconds since 1970-01-01T00:00:00Z.
    let seconds: Int

    private static let units: [Character: Int] = ["s": 1, "m": 60, "h": 3600, "d": 86_400]

    init?(argument: String) {
        self.init(argument, now: Int(Date().timeIntervalSince1970))
    }

    init?(_ text: String, now: Int) {
        if let unit = text.last.flatMap({ Self.units[$0] }), let count = UInt16(text.dropLast()) {
            seconds = now - Int(count) * unit
        } else if let date = try? Date(text, strategy: .iso8601) {
            seconds = Int(date.timeIntervalSince1970)
        } else {
            return nil
        }
    }
}

/// `tlshctl metrics`: metrics for monitoring.
struct MetricsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "metrics", abstract: "Print the running tlshd's figures as OpenMetrics text.",
        discussion: """
            There is no --json, because OpenMetrics text is the form that monitoring systems read; status --json has \
            the state. For node_exporter, which reads another format, tlshd writes a file: [metrics] in tlshd.conf(5).
            """)

    @OptionGroup var link: DaemonLink

    func run() throws {
        let output = Output(json: false, terminal: Terminal(isStyled: false, width: nil))
        do throws(CommandError) {
            let figures = try link.ask(.metrics)
            // Truncated metrics must not be used.
            guard figures.hasSuffix("# EOF\n") else {
                throw CommandError("tlshd's answer was cut off", .unknown)
            }
            output.write(figures)
        } catch {
            // Errors go to stderr only, because stdout is parsed as metrics.
            Output.printError("tlshctl: \(error.summary)")
            throw error.status.exit.code
        }
    }
}
