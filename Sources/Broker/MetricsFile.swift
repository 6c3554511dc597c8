internal import System
internal import Unconfined

/// The metrics file for node_exporter, if the settings name one. An error is logged once and affects nothing else.
final class MetricsFile {
    /// Reason why it cannot be written; empty if it can.
    var problem: String { files.problem.isEmpty ? refusal : "\(files.problem); \(Self.consequence)" }
    private var refusal = ""
    private static let consequence = "figures are not written meanwhile"
    var files = FileWatch<String, SystemError?>()
    private var path: String?
    /// The file at the previous path, which is to be removed. The new file does not wait for that.
    private var leftover: String?
    var removal = FileWatch<String, Bool>()
    private var written = ""
    /// Text that is being written.
    private var text = ""
    private var nextLook: UInt64 = 0
    private var nextWrite: UInt64 = 0

    /// Minimum interval between two writes, in nanoseconds.
    static let pause: UInt64 = 5_000_000_000
    /// Maximum age of an unchanged file in nanoseconds, because its age shows whether the daemon is alive.
    static let period: UInt64 = 15_000_000_000

    /// Writes the metrics if they are due.
    ///
    /// - Parameters:
    ///   - path: path of the file; `nil` for none. A file at the previous path is removed.
    ///   - now: CLOCK_MONOTONIC nanoseconds.
    /// - Returns: New lines for the log.
    func refresh(path wanted: String?, now: UInt64, _ figures: () -> String) -> [FileNews] {
        let isMoved = wanted != path
        if isMoved { move(to: wanted) }
        removeLeftover()
        guard let path else { return [] }
        if isMoved || !files.isPending {
            guard nextLook <= now else { return [] }
            nextLook = now + Self.pause
            text = figures()
            guard text != written || nextWrite <= now else { return [] }
        }
        let text = text
        let answer = files.look(at: path) { _, progress -> SystemError? in
            progress.at(path)
            do throws(SystemError) {
                try ReplacedFile.write(Array(text.utf8), to: path, mode: 0o644)
                return nil
            } catch {
                return error
            }
        }
        let lines = [files.takeNews(Self.consequence)].compactMap(\.self)
        guard let answer else { return lines }
        return lines + settle(answer, now)
    }

    private func removeLeftover() {
        guard let leftover else { return }
        let isDone = removal.look(at: leftover) { _, progress in
            progress.at(leftover)
            ReplacedFile.remove(leftover)
            return true
        }
        if isDone != nil { self.leftover = nil }
    }

    private func settle(_ error: SystemError?, _ now: UInt64) -> [FileNews] {
        guard let error else {
            refusal = ""
            written = text
            nextWrite = now + Self.period
            return []
        }
        let former = refusal
        refusal = "figures cannot be written: \(error.description); remedy: \(Self.remedy(for: error.number))"
        return refusal == former ? [] : [FileNews(text: refusal, isError: true)]
    }

    private func move(to wanted: String?) {
        if let path, !written.isEmpty { leftover = path }
        if wanted == leftover { leftover = nil }
        // A pending write to the previous path is abandoned.
        if wanted == nil { files = FileWatch() }
        path = wanted
        refusal = ""
        written = ""
        nextLook = 0
        nextWrite = 0
    }

    private static func remedy(for number: Errno) -> String {
        switch number {
        case .enoent, .enotdir: "make the folder that [metrics] textfile= names"
        case .erofs:
            "allow the unit to write there, by ReadWritePaths= in a drop-in file as metrics.conf of the examples"
        case .eacces, .eperm: "give the folder that [metrics] textfile= names to root"
        default: "see [metrics] textfile="
        }
    }
}
