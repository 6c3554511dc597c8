internal import Glibc
internal import System

/// Runs the broker in simulated worlds, one for each seed. One thread. The same seed gives the same run if hashes are
/// the same in each process (SWIFT_DETERMINISTIC_HASHING).
package final class Simulator {
    private let fixtures = Fixtures()
    private let scratch: Scratch

    package init() throws { scratch = try Scratch() }

    /// Runs one seed.
    ///
    /// - Parameter trace: receives each step as a line.
    /// - Returns: The violated rule, or `nil`, and a record of the run.
    package func run(
        seed: UInt64, trace: ((String) -> Void)? = nil
    ) -> (violation: String?, statistics: Statistics) {
        let before = Self.openDescriptors()
        var (violation, statistics) = course(seed, trace)
        Self.discardSignals()
        let after = Self.openDescriptors()
        if violation == nil, after != before {
            violation = "\(after.subtracting(before).count) descriptors are left open"
        }
        return (violation, statistics)
    }

    private func course(_ seed: UInt64, _ trace: ((String) -> Void)?) -> (String?, Statistics) {
        do {
            let world = try World(seed: seed, fixtures: fixtures, scratch: scratch, trace: trace)
            world.run()
            return (world.violation, world.statistics)
        } catch {
            return ("the world cannot be made: \(error.description)", Statistics())
        }
    }

    /// The lowest numbers, which are used first.
    private static func openDescriptors() -> Set<Int32> {
        var entries = (0..<Int32(512)).map { pollfd(fd: $0, events: 0, revents: 0) }
        guard unsafe poll(&entries, nfds_t(entries.count), 0) >= 0 else { return [] }
        return Set(entries.filter { $0.revents & Int16(POLLNVAL) == 0 }.map(\.fd))
    }

    /// Signals that the broker has not read.
    private static func discardSignals() {
        var set = sigset_t()
        unsafe sigemptyset(&set)
        for signal in [SIGHUP, SIGUSR1, SIGTERM, SIGINT] { unsafe sigaddset(&set, signal) }
        var none = timespec()
        while unsafe sigtimedwait(&set, nil, &none) > 0 {}
    }
}
