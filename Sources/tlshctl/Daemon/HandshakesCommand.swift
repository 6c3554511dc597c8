internal import ArgumentParser
internal import Control

/// `tlshctl handshakes`: the last handshakes.
struct HandshakesCommand: PrintsFacts {
    static let configuration = CommandConfiguration(
        commandName: "handshakes", abstract: "Show the last handshakes of the running tlshd, the newest first.")

    @Argument(help: "How many; tlshd keeps the last 256.")
    var count = 20

    @Flag(name: .long, help: "Continue with each handshake as it ends, the newest last, until interrupted.")
    var watch = false

    @OptionGroup var link: DaemonLink
    @OptionGroup var output: OutputOptions

    func validate() throws {
        guard (1...1_000_000).contains(count) else { throw ValidationError("the number must be from 1 to 1000000") }
    }

    private struct Answer: Codable {
        let `protocol`: Int
        let handshakes: [HandshakeRecord]
    }

    func run() throws {
        if watch { follow(on: output.output) }
        let answer: Answer
        do throws(CommandError) {
            answer = try link.ask(.handshakes(count), as: Answer.self)
        } catch {
            return try output.output.end(error)
        }
        try output.output.show(answer) { terminal in
            guard !answer.handshakes.isEmpty else { return "no handshakes yet" }
            var table = Table(["TIME", "CONSUMER", "PEER", "RESULT", "MS", "REASON"])
            for record in answer.handshakes {
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

    /// Prints a line with reason and remedy for each handshake; with `--json` a document each.
    private func follow(on output: Output) -> Never {
        var seen: [HandshakeRecord] = []
        var complaint = ""
        while true {
            do throws(CommandError) {
                // Requests all records, so that none is missed between two requests.
                let newest = try link.ask(.handshakes(max(count, HandshakeHistory.capacity)), as: Answer.self)
                    .handshakes
                let fresh = Self.fresh(newest, since: seen).prefix(seen.isEmpty ? count : .max)
                for record in fresh.reversed() { show(record, on: output) }
                seen = newest
                complaint = ""
            } catch {
                if error.text != complaint { Output.printError("tlshctl: \(Table.printable(error.text))") }
                complaint = error.text
            }
            Terminal.pause(.seconds(1))
        }
    }

    private func show(_ record: HandshakeRecord, on output: Output) {
        if output.json, let document = try? Output.document(record) { return output.write(document) }
        let text = "\(instant(record.time)) \(record.text)"
        output.write(output.terminal.styled(Table.printable(text), record.succeeded ? .good : .bad))
    }

    /// Records that are newer than the previous list: those before the position at which the previous list continues.
    /// After a restart of tlshd all are new.
    static func fresh(_ newest: [HandshakeRecord], since former: [HandshakeRecord]) -> ArraySlice<HandshakeRecord> {
        guard !former.isEmpty else { return newest[...] }
        let start = newest.indices.first { newest[$0...].elementsEqual(former.prefix(newest.count - $0)) }
        return newest[..<(start ?? newest.endIndex)]
    }
}

/// `tlshctl metrics`: metrics for monitoring.
struct MetricsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "metrics", abstract: "Print the running tlshd's figures as OpenMetrics text.",
        discussion: "For node_exporter, which reads another format, tlshd writes a file: [metrics] in tlshd.conf(5).")

    @OptionGroup var link: DaemonLink

    func run() throws {
        let output = Output(json: false, terminal: Terminal(isStyled: false, width: nil))
        do throws(CommandError) {
            let figures = try link.ask(.metrics)
            // Truncated metrics must not be used.
            guard figures.hasSuffix("# EOF\n") else {
                throw CommandError("UNKNOWN: tlshd's answer was cut off", .unavailable)
            }
            output.write(figures)
        } catch {
            // Errors go to stderr only, because stdout is parsed as metrics.
            Output.printError("tlshctl: \(error.text)")
            throw error.status.code
        }
    }
}
