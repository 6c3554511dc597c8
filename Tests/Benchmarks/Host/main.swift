import CBareLoop
import Glibc
import Handshake
import System
import Wire
import X509

// HostBenchmark --strangers FOLDER SCRIPT: what peers can cost that nobody trusts, see Strangers.swift.
//
// HostBenchmark FOLDER ROUNDS [PAIRS]: what a pair of handshakes costs in our engine, against the bare library with the
// same credentials. FOLDER holds p256/ and rsa/, each with ca.pem, client.pem, client.key, server.pem, server.key. The
// contestants alternate; each figure is the median of the rounds. Then PAIRS more, to see whether memory grows. Prints
// lines of words KEY=VALUE.

/// What one contestant took for a pair of handshakes, over a number of pairs.
struct Cost {
    var microseconds: Double
    var allocations: Double
}

/// The processor time of this process so far, in microseconds.
func processorTime() -> Double {
    var time = timespec()
    _ = unsafe clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
    return Double(time.tv_sec) * 1e6 + Double(time.tv_nsec) / 1e3
}

func measure(_ pairs: Int, _ body: () -> Bool) -> Cost {
    let allocations = bare_allocations()
    let start = processorTime()
    for _ in 0..<pairs where !body() { fail("a handshake failed") }
    return Cost(
        microseconds: (processorTime() - start) / Double(pairs),
        allocations: Double(bare_allocations() - allocations) / Double(pairs))
}

func fail(_ text: String) -> Never {
    print("HostBenchmark: \(text)")
    exit(1)
}

/// Memory of this process that is in use, in kB (proc_pid_statm(5): pages).
func residentKilobytes() -> Int {
    guard let file = unsafe fopen("/proc/self/statm", "r") else { fail("no /proc/self/statm") }
    defer { unsafe fclose(file) }
    var text = [CChar](repeating: 0, count: 128)
    guard unsafe fgets(&text, 128, file) != nil else { fail("/proc/self/statm is empty") }
    let words = String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self).split(
        separator: " ")
    return words.count > 1 ? (Int(words[1]) ?? 0) * 4 : 0
}

func median(_ costs: [Cost]) -> Cost {
    let times = costs.map(\.microseconds).sorted(), counts = costs.map(\.allocations).sorted()
    return Cost(microseconds: times[times.count / 2], allocations: counts[counts.count / 2])
}

func whole(_ value: Double) -> String { String(Int(value.rounded())) }

let arguments = CommandLine.arguments
let rounds = arguments.count >= 3 ? Int(arguments[2]) ?? 0 : 0
guard rounds > 0 || arguments.count == 4 && arguments[1] == "--strangers" else {
    fail("usage: HostBenchmark FOLDER ROUNDS [PAIRS]")
}
do throws(GnuTLSError) {
    try GnuTLS.initialize()
} catch {
    fail(error.description)
}
if arguments[1] == "--strangers" {
    Strangers(folder: arguments[2], script: arguments[3]).run()
    exit(0)
}
let contests: [(name: String, folder: String, kind: bare_kind, pairs: Int)] = [
    ("p256", arguments[1] + "/p256", BARE_MUTUAL, 100), ("rsa3072", arguments[1] + "/rsa", BARE_MUTUAL, 30),
    ("psk", arguments[1] + "/p256", BARE_PSK, 300),
]
for contest in contests {
    guard let bare = unsafe bare_open(contest.folder, contest.kind) else { fail("no bare loop") }
    let engine = EnginePairs(folder: contest.folder, isPSK: contest.kind == BARE_PSK)
    guard unsafe bare_pair(bare) == 0, engine.pair() else { fail("\(contest.name): no handshake works") }
    var library: [Cost] = [], fresh: [Cost] = [], returning: [Cost] = []
    for _ in 0..<rounds {
        library.append(measure(contest.pairs) { unsafe bare_pair(bare) == 0 })
        fresh.append(
            measure(contest.pairs) {
                engine.forget()
                return engine.pair()
            })
        returning.append(measure(contest.pairs) { engine.pair() })
    }
    let base = median(library)
    for (who, costs) in [("library", library), ("fresh", fresh), ("returning", returning)] {
        let cost = median(costs)
        let ratio = (cost.microseconds / base.microseconds * 1000).rounded() / 1000
        print(
            "figure host-\(contest.name) who=\(who) cpu_us=\(whole(cost.microseconds)) ratio=\(ratio) "
                + "allocations=\(whole(cost.allocations))")
    }
    unsafe bare_close(bare)
}

if arguments.count > 3, let pairs = Int(arguments[3]), pairs >= 10 {
    let engine = EnginePairs(folder: arguments[1] + "/p256", isPSK: false)
    _ = measure(pairs / 10) { engine.pair() }
    let before = residentKilobytes()
    _ = measure(pairs - pairs / 10) { engine.pair() }
    print("figure host-growth handshakes=\(2 * pairs) before_kb=\(before) after_kb=\(residentKilobytes())")
}
