internal import Glibc
internal import System

/// Log output: the journal with its fields, stderr, or both. It never blocks and never fails: a line that cannot be
/// written is dropped and counted. One thread.
package final class Journal {
    /// The severities of syslog(3) in use.
    package enum Level: UInt8, Sendable, Comparable, CaseIterable {
        case error = 3
        case warning = 4
        case notice = 5
        case info = 6
        case debug = 7

        package static func < (left: Level, right: Level) -> Bool { left.rawValue < right.rawValue }
    }

    /// Selects the outputs.
    package enum Output: Sendable, Equatable {
        /// The journal; stderr if it is missing.
        case automatic
        /// Both (`-s`, as LOG_PERROR of syslog(3)); only stderr if the journal is missing.
        case both
    }

    /// Number of lines that were dropped because the output was full.
    package private(set) var dropped: UInt64 = 0

    private let identifier: String
    private let socketPath: String
    private let datagram: UnixDatagram?
    private let standardError: StandardErrorStyle?
    private let collector: ((Level, String) -> Void)?

    /// - Parameters:
    ///   - identifier: the program's name, SYSLOG_IDENTIFIER.
    ///   - socketPath: the journal's socket; systemd-journald(8).
    package init(
        _ output: Output, identifier: String = "tlshd", socketPath: String = "/run/systemd/journal/socket"
    ) {
        self.identifier = identifier
        self.socketPath = socketPath
        let isThere = unsafe access(socketPath, W_OK) == 0
        let journal = isThere ? try? UnixDatagram() : nil
        standardError = journal == nil || output == .both ? StandardErrorStyle.current() : nil
        datagram = journal
        collector = nil
    }

    /// Gives each line to `collector`, and to no output.
    package init(collector: @escaping (Level, String) -> Void) {
        identifier = ""
        socketPath = ""
        datagram = nil
        standardError = nil
        self.collector = collector
    }

    /// Writes one line.
    ///
    /// - Parameter fields: journal fields. Names consist of upper-case letters, digits and underscores and do not start
    ///   with an underscore. Not printed to stderr.
    package func log(_ level: Level, _ text: String, fields: [(name: String, value: String)] = []) {
        collector?(level, text)
        if datagram != nil { sendToJournal(level, text, fields) }
        if let standardError, !standardError.write(level, text, identifier) { dropped += 1 }
    }

    private func sendToJournal(_ level: Level, _ text: String, _ fields: [(name: String, value: String)]) {
        let bytes = JournalEntry.encode(level.rawValue, text, identifier: identifier, fields: fields)
        do throws(SystemError) {
            try datagram?.send(bytes, to: socketPath)
        } catch {
            // An entry that is too large for a datagram is sent as a sealed file (systemd-journald's native protocol).
            let tooLarge = error.number == .emsgsize || error.number == .enobufs
            if !tooLarge || !sendAsFile(bytes) { dropped += 1 }
        }
    }

    private func sendAsFile(_ bytes: [UInt8]) -> Bool {
        do throws(SystemError) {
            let file = try SealedFile.make(named: "journal-entry", holding: bytes)
            try datagram?.send([], descriptors: [file.number], to: socketPath)
            return true
        } catch {
            return false
        }
    }
}

/// The journal's native protocol: https://systemd.io/JOURNAL_NATIVE_PROTOCOL.
enum JournalEntry {
    /// LOG_AUTH of syslog(3).
    private static let facility = "4"

    /// Encodes an entry as a datagram.
    static func encode(
        _ priority: UInt8, _ text: String, identifier: String, fields: [(name: String, value: String)]
    ) -> [UInt8] {
        var bytes: [UInt8] = []
        append("MESSAGE", text, to: &bytes)
        append("PRIORITY", String(priority), to: &bytes)
        append("SYSLOG_IDENTIFIER", identifier, to: &bytes)
        append("SYSLOG_FACILITY", facility, to: &bytes)
        for field in fields { append(field.name, field.value, to: &bytes) }
        return bytes
    }

    /// Appends `NAME=value`. If the value contains line feeds: the name, the length in 64 bits little-endian, and the
    /// value.
    private static func append(_ name: String, _ value: String, to bytes: inout [UInt8]) {
        bytes += name.utf8
        if value.utf8.contains(UInt8(ascii: "\n")) {
            bytes.append(UInt8(ascii: "\n"))
            let count = UInt64(value.utf8.count)
            for shift in stride(from: UInt64(0), to: 64, by: 8) {
                bytes.append(UInt8(truncatingIfNeeded: count >> shift))
            }
        } else {
            bytes.append(UInt8(ascii: "="))
        }
        bytes += value.utf8
        bytes.append(UInt8(ascii: "\n"))
    }
}

/// Format of lines on stderr: `tlshd[pid]: text`, with the prefix or colours that its reader understands.
struct StandardErrorStyle {
    /// Stderr is a stream to the journal: a `<N>` prefix gives the level (sd-daemon(3)).
    let isJournalStream: Bool
    let isTerminal: Bool

    static func current() -> StandardErrorStyle {
        StandardErrorStyle(isJournalStream: isJournalStream(), isTerminal: isatty(STDERR_FILENO) == 1)
    }

    /// Writes one line; `false` if it could not be written completely.
    func write(
        _ level: Journal.Level, _ text: String, _ identifier: String, to output: Int32 = STDERR_FILENO
    ) -> Bool {
        var rest = Array(line(level, text, identifier, process: getpid()).utf8)[...]
        while !rest.isEmpty {
            // A full pipe must not block the daemon, nor SIGPIPE end a program that does not ignore it: poll first,
            // because the file flags of stderr are shared. A writable pipe has room for PIPE_BUF bytes.
            var ready = pollfd(fd: output, events: Int16(POLLOUT), revents: 0)
            guard unsafe poll(&ready, 1, 0) == 1, ready.revents == Int16(POLLOUT) else { return false }
            let count = unsafe rest.prefix(Int(PIPE_BUF)).withUnsafeBytes { raw in
                retrying { unsafe Glibc.write(output, raw.baseAddress, raw.count) }
            }
            guard count > 0 else { return false }
            rest = rest.dropFirst(count)
        }
        return true
    }

    func line(_ level: Journal.Level, _ text: String, _ identifier: String, process: Int32) -> String {
        let prefix = isJournalStream ? "<\(level.rawValue)>" : ""
        let body = "\(identifier)[\(process)]: \(text)"
        guard isTerminal, let colour = Self.colour(of: level) else { return "\(prefix)\(body)\n" }
        return "\(colour)\(body)\u{1B}[0m\n"
    }

    private static func colour(of level: Journal.Level) -> String? {
        switch level {
        case .error: "\u{1B}[1;31m"
        case .warning: "\u{1B}[1;33m"
        case .notice: "\u{1B}[1m"
        case .info: nil
        case .debug: "\u{1B}[2m"
        }
    }

    /// JOURNAL_STREAM has device and inode of the stream that systemd passed. It applies only if stderr still is that
    /// stream.
    private static func isJournalStream() -> Bool {
        guard let value = Environment.value(of: "JOURNAL_STREAM") else { return false }
        let parts = value.split(separator: ":")
        var status = stat()
        guard parts.count == 2, unsafe fstat(STDERR_FILENO, &status) == 0 else { return false }
        return UInt64(parts[0]) == UInt64(status.st_dev) && UInt64(parts[1]) == UInt64(status.st_ino)
    }
}
