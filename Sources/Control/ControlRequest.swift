/// A request on the control socket: one line, docs/control-protocol.md.
package enum ControlRequest: Equatable, Sendable {
    case status
    /// Number of newest handshakes to return.
    case handshakes(Int)
    case metrics

    /// Maximum length of a line including its line feed.
    package static let limit = 64
    /// Protocol and version, at the start of requests and refusals.
    package static let prefix = "tlshd-control 1"
    /// More than the number of records that are kept.
    private static let most = 1_000_000

    /// Reason of a refusal.
    package enum Refusal: String, Error, Sendable, Hashable, CaseIterable {
        case tooLong = "the request is longer than 64 bytes"
        case unfinished = "the request does not end with a line feed"
        case trailing = "there is data after the request"
        case version = "the request does not begin with \"tlshd-control 1 \", the only version that this tlshd supports"
        case unknown = "the request is none of status, handshakes N, metrics"
        case number = "handshakes needs a number from 1 to 1000000"
        case busy = "too many connections; try again"

        /// Line with the refusal.
        package var line: String { "\(ControlRequest.prefix) error \(rawValue)\n" }
    }

    /// Parses a complete request: everything up to its line feed, or until it is clear that it is invalid.
    package init(parsing bytes: some Collection<UInt8>) throws(Refusal) {
        guard let end = bytes.prefix(Self.limit).firstIndex(of: UInt8(ascii: "\n")) else {
            throw bytes.count > Self.limit ? .tooLong : .unfinished
        }
        guard bytes.index(after: end) == bytes.endIndex else { throw .trailing }
        let line = bytes[..<end]
        let prefix = Array((Self.prefix + " ").utf8)
        guard line.starts(with: prefix) else { throw .version }
        let rest = Array(line.dropFirst(prefix.count))
        let handshakes = Array("handshakes ".utf8)
        if rest == Array("status".utf8) {
            self = .status
        } else if rest == Array("metrics".utf8) {
            self = .metrics
        } else if rest.starts(with: handshakes) {
            self = .handshakes(try Self.number(rest.dropFirst(handshakes.count)))
        } else {
            throw .unknown
        }
    }

    /// Parses decimal digits without leading zero.
    private static func number(_ digits: ArraySlice<UInt8>) throws(Refusal) -> Int {
        guard let first = digits.first, first != UInt8(ascii: "0"), digits.count <= 7 else { throw .number }
        var number = 0
        for digit in digits {
            guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(digit) else { throw .number }
            number = number * 10 + Int(digit - UInt8(ascii: "0"))
        }
        guard number <= most else { throw .number }
        return number
    }

    /// Line to send.
    package var line: String {
        switch self {
        case .status: "\(Self.prefix) status\n"
        case .handshakes(let count): "\(Self.prefix) handshakes \(count)\n"
        case .metrics: "\(Self.prefix) metrics\n"
        }
    }
}
