internal import Glibc
internal import System

/// The file of figures that node_exporter reads, where the settings want one. Trouble with it is said once and stops
/// nothing.
final class MetricsFile {
    /// Why it cannot be written; empty when all is well.
    private(set) var problem = ""
    private var path: String?
    private var written = ""
    private var nextLook: UInt64 = 0
    private var nextWrite: UInt64 = 0

    /// Between two writings at least, in nanoseconds.
    static let pause: UInt64 = 5_000_000_000
    /// Between two of the same figures: the file's age tells whether the daemon lives.
    static let period: UInt64 = 15_000_000_000

    /// Writes the figures if it is time.
    ///
    /// - Parameters:
    ///   - path: where they are wanted; `nil` for nowhere. The file at a former place is taken away.
    ///   - now: CLOCK_MONOTONIC nanoseconds.
    /// - Returns: an error for the log, where it is new.
    func refresh(path wanted: String?, now: UInt64, _ figures: () -> String) -> String? {
        if wanted != path { move(to: wanted) }
        guard let path, nextLook <= now else { return nil }
        nextLook = now + Self.pause
        let text = figures()
        guard text != written || nextWrite <= now else { return nil }
        do throws(SystemError) {
            try ReplacedFile.write(Array(text.utf8), to: path, mode: 0o644)
        } catch {
            let former = problem
            problem = "figures cannot be written: \(error.description); remedy: \(Self.remedy(for: error.number))"
            return problem == former ? nil : problem
        }
        problem = ""
        written = text
        nextWrite = now + Self.period
        return nil
    }

    private func move(to wanted: String?) {
        if let path, !written.isEmpty { ReplacedFile.remove(path) }
        path = wanted
        problem = ""
        written = ""
        nextLook = 0
        nextWrite = 0
    }

    private static func remedy(for number: Int32) -> String {
        switch number {
        case ENOENT, ENOTDIR: "make the folder that [metrics] textfile= names"
        case EROFS:
            "allow the unit to write there, by ReadWritePaths= in a drop-in file as metrics.conf of the examples"
        case EACCES, EPERM: "give the folder that [metrics] textfile= names to root"
        default: "see [metrics] textfile="
        }
    }
}
