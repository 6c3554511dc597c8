internal import Glibc
internal import SimulatedHost

/// Executes this program again with hashes that are the same in each process.
func fixHashes() {
    let name = "SWIFT_DETERMINISTIC_HASHING"
    guard unsafe getenv(name) == nil else { return }
    unsafe setenv(name, "1", 1)
    var arguments = unsafe CommandLine.arguments.map { unsafe strdup($0) } + [nil]
    unsafe execv("/proc/self/exe", &arguments)
    print("this program cannot be started again: errno \(errno)")
    exit(2)
}

func usage() -> Never {
    print("usage: Simulation --seeds FROM COUNT | --seed N [--trace]")
    exit(2)
}

/// The current seed, for a message about a crash.
nonisolated(unsafe) var crashLine: [UInt8] = []

func announceCrashes() {
    for signal in [SIGILL, SIGTRAP, SIGSEGV, SIGABRT, SIGBUS] {
        _ = Glibc.signal(signal) { number in
            unsafe crashLine.withUnsafeBytes { _ = unsafe write(STDERR_FILENO, $0.baseAddress, $0.count) }
            _ = Glibc.signal(number, SIG_DFL)
            raise(number)
        }
    }
}

func seconds() -> Double {
    var time = timespec()
    unsafe clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}

/// Runs seeds until one violates a rule.
func run(from first: UInt64, count: UInt64, traces: Bool) throws -> Int32 {
    let simulator = try Simulator()
    let start = seconds()
    var statistics = Statistics(), told = start
    let replay = { (seed: UInt64) in "\(CommandLine.arguments[0]) --seed \(seed) --trace" }
    for seed in first..<(first + count) {
        unsafe crashLine = Array("seed \(seed) crashed the broker; replay: \(replay(seed))\n".utf8)
        let outcome = simulator.run(seed: seed, trace: traces ? { print($0) } : nil)
        statistics += outcome.statistics
        if let violation = outcome.violation {
            print("seed \(seed), after \(seed - first + 1) seeds: \(violation)")
            print("replay: \(replay(seed))")
            return 1
        }
        if seed % 16 == 0, seconds() - told > 2 {
            told = seconds()
            let done = Double(seed - first + 1)
            print("\(seed - first + 1) of \(count) seeds, \(Int(done / (told - start))) per second")
            fflush(nil)
        }
    }
    // The trace is the same each time.
    let rate = traces ? "" : "; \(Int(Double(count) / (seconds() - start))) runs per second"
    print("\(statistics.description)\(rate)")
    return 0
}

fixHashes()
announceCrashes()
let arguments = CommandLine.arguments.dropFirst()
let numbers = arguments.compactMap { UInt64($0) }
let status: Int32
switch (arguments.first, numbers.count) {
case ("--seeds", 2): status = try run(from: numbers[0], count: numbers[1], traces: arguments.contains("--trace"))
case ("--seed", 1): status = try run(from: numbers[0], count: 1, traces: arguments.contains("--trace"))
default: usage()
}
exit(status)
