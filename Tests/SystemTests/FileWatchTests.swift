import Foundation
import Glibc
import TestSupport
import Testing

@testable import System
@testable import Unconfined

/// Asking for files that do not answer.
@Suite("Files that do not answer")
struct FileWatchTests {
    /// Long enough for every machine; only what never happens takes as long.
    private static let long: UInt64 = 120_000_000_000

    /// Looks until there is an answer.
    private func answer(_ watch: inout FileWatch<String, String>, at path: String) throws -> String {
        var answer: String?
        try wait {
            answer = watch.look(at: path, { _, _ in "asked again" })
            return answer != nil
        }
        return answer ?? ""
    }

    @Test("an answer that comes in time is that of this very look")
    func healthy() {
        var watch = FileWatch<String, Int>()
        for number in 1...50 {
            let answer = watch.look(at: "/a", patience: Self.long) { _, progress in
                progress.at("/a")
                return number
            }
            #expect(answer == number)
        }
        let news = watch.takeNews("x")
        #expect(watch.problem.isEmpty && !watch.isPending && news == nil)
        #expect(watch.age(Clock.monotonicNanoseconds()) == nil)
    }

    @Test("one that does not come is not waited for again, nor asked for again, and is taken when it comes")
    func silent() throws {
        let gate = Gate("/a")
        var watch = FileWatch<String, String>()
        watch.obstacle = gate.pass
        let first = watch.look(at: "/a", patience: 1_000_000) { _, progress in
            progress.at("/a")
            return "first"
        }
        #expect(first == nil)
        let before = Clock.monotonicNanoseconds()
        let second = watch.look(at: "/a", force: true, patience: Self.long) { _, _ in "second" }
        #expect(second == nil)
        #expect(Clock.monotonicNanoseconds() - before < Self.long)
        #expect(watch.isPending)
        gate.open()
        #expect(try answer(&watch, at: "/a") == "first")
        // What was demanded meanwhile is not forgotten.
        let third = watch.look(at: "/a", patience: Self.long) { isForced, _ in "\(isForced)" }
        #expect(third == "true")
        let fourth = watch.look(at: "/a", patience: Self.long) { isForced, _ in "\(isForced)" }
        #expect(fourth == "false")
    }

    @Test("within five seconds it is said which file it is, once, and when it answers again")
    func complaint() throws {
        let gate = Gate("/mnt/b")
        var watch = FileWatch<String, String>()
        watch.obstacle = gate.pass
        let begun = Clock.monotonicNanoseconds()
        var news: FileNews?
        while news == nil {
            _ = watch.look(at: "/a", patience: 1_000_000) { _, progress in
                progress.at("/mnt/a")
                progress.at("/mnt/b")
                return ""
            }
            news = watch.takeNews("the former stays")
            try #require(Clock.monotonicNanoseconds() - begun < Self.long)
            usleep(10_000)
        }
        #expect(FilePatience.complaint <= 3_500_000_000, "a look each second, and the line stands within five")
        let text = try #require(news).text
        #expect(text.hasPrefix("/mnt/b does not answer: reading it has taken ") && news?.isError == true)
        #expect(text.hasSuffix(" s so far; remedy: check that the server of its file system is up; the former stays"))
        #expect(watch.problem.hasPrefix("/mnt/b does not answer: "))
        _ = watch.look(at: "/a", patience: 0) { _, _ in "" }
        let repeated = watch.takeNews("x")
        #expect(repeated == nil, "once")
        gate.open()
        _ = try answer(&watch, at: "/a")
        let again = watch.takeNews("x")
        #expect(again?.text.hasPrefix("/mnt/b answers again, after ") == true && again?.isError == false)
        #expect(watch.problem.isEmpty)
    }

    @Test("settings that name another file are followed, whatever waits for the former one")
    func changed() {
        let gate = Gate("/a")
        defer { gate.open() }
        var watch = FileWatch<String, String>()
        watch.obstacle = gate.pass
        func ask(_ path: String, _ patience: UInt64) -> String? {
            watch.look(at: path, patience: patience) { _, progress in
                progress.at(path)
                return path
            }
        }
        #expect(ask("/a", 1_000_000) == nil)
        #expect(ask("/b", Self.long) == "/b")
        let news = watch.takeNews("x")
        #expect(news == nil)
    }

    @Test("after an answer that took long the next is not waited for")
    func slow() throws {
        let gate = Gate("/a")
        var watch = FileWatch<String, String>()
        watch.obstacle = gate.pass
        _ = watch.look(at: "/a", patience: FilePatience.moment) { _, progress in
            progress.at("/a")
            return "late"
        }
        gate.open()
        #expect(try answer(&watch, at: "/a") == "late")
        let other = Gate("/a")
        defer { other.open() }
        watch.obstacle = other.pass
        let before = Clock.monotonicNanoseconds()
        let next = watch.look(at: "/a", patience: Self.long) { _, progress in
            progress.at("/a")
            return "next"
        }
        #expect(next == nil && Clock.monotonicNanoseconds() - before < Self.long)
    }

    @Test("so many threads may wait, and no more; the next look says so")
    func limit() async {
        await #expect(processExitsWith: .success) {
            let gate = Gate("/")
            var watch = FileWatch<Int, Int>()
            watch.obstacle = gate.pass
            for number in 1...70 {
                let answer = watch.look(at: number, patience: 0) { _, progress in
                    progress.at("/\(number)")
                    return number
                }
                #expect(answer == nil)
            }
            #expect(watch.problem.contains("as 64 threads wait for files"))
            let news = watch.takeNews("x")
            #expect(news?.isError == true)
            gate.open()
            let deadline = Clock.monotonicNanoseconds() + 120_000_000_000
            while watch.look(at: 71, { _, _ in 71 }) != 71 {
                try #require(Clock.monotonicNanoseconds() < deadline)
            }
            #expect(watch.problem.isEmpty)
        }
    }

    @Test("what waits does not keep a process from ending, and a fork asks anew")
    func processes() async {
        await #expect(processExitsWith: .exitCode(3)) {
            let gate = Gate("/a")
            var watch = FileWatch<String, Int>()
            watch.obstacle = gate.pass
            _ = watch.look(at: "/a", patience: 0) { _, progress in
                progress.at("/a")
                return 0
            }
            switch try Fork.fork() {
            case .child:
                watch.obstacle = nil
                let answer = watch.look(at: "/a", patience: 60_000_000_000) { _, _ in 1 }
                _exit(answer == 1 ? 0 : 1)
            case .parent(let child):
                var status: Int32 = 0
                _ = unsafe waitpid(child, &status, 0)
                exit(status == 0 ? 3 : 1)
            }
        }
    }
}
