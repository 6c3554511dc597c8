import Testing

@testable import Policy

@Suite("Lines that others can cause")
struct LogThrottleTests {
    private let window = LogThrottle<String>.window

    @Test("the first of each sender are let in, the rest are counted, and the next minute is another")
    func summary() {
        var throttle = LogThrottle<String>(most: 3, mostInAll: 100)
        #expect(throttle.nextDue == nil)
        let admitted = (0..<315).map { throttle.admits("mallory", about: "line \($0)", now: 5 + UInt64($0)) }
        #expect(admitted.prefix(4) == [true, true, true, false] && admitted.count(where: { $0 }) == 3)
        #expect(throttle.admits("alice", about: "hers", now: 6) == true)
        #expect(throttle.nextDue == 5 + window)
        #expect(throttle.summaries(at: 4 + window).isEmpty)
        let summaries = throttle.summaries(at: 5 + window)
        #expect(summaries == [.init(sender: "mallory", count: 312, last: "line 314")])
        #expect(throttle.nextDue == nil)
        #expect(throttle.admits("mallory", about: "again", now: 6 + window) == true)
    }

    @Test("many senders together are bounded, too, and so is what is remembered of them")
    func crowd() {
        var throttle = LogThrottle<Int>(most: 3, mostInAll: 10)
        let admitted = (0..<1000).map { throttle.admits($0, about: "\($0)", now: 0) }
        #expect(admitted.count(where: { $0 }) == 10)
        let summaries = throttle.summaries(at: window)
        #expect(summaries.count <= LogThrottle<Int>.mostSenders + 1)
        #expect(summaries.reduce(0) { $0 + $1.count } == 990)
        #expect(summaries.first?.sender == nil && summaries.first?.last == "999")
    }
}

@Suite("What a process writes to its standard error")
struct OutputLinesTests {
    @Test("comes as lines, however it is cut")
    func cut() {
        let text = Array("one\ntwo\n\nthree".utf8)
        for size in 1...text.count {
            var lines = OutputLines()
            var found: [String] = []
            for start in stride(from: 0, to: text.count, by: size) {
                found += lines.take(Array(text[start..<min(start + size, text.count)]))
            }
            #expect(found == ["one", "two"])
            #expect(lines.take([], isLast: true) == ["three"])
            #expect(lines.take([], isLast: true).isEmpty)
        }
    }

    @Test("is short and printable")
    func bounded() {
        var lines = OutputLines()
        #expect(lines.take(Array("\u{1B}[2Jred\r<3>x\n".utf8)) == [#"\u{1b}[2Jred\u{d}<3>x"#])
        #expect(lines.take([UInt8](repeating: 65, count: 100_000)).isEmpty)
        let long = lines.take([10])
        #expect(long == [String(repeating: "A", count: OutputLines.longest) + " [...]"])
        #expect(lines.take([0xFF, 0x41, 10]) == ["\u{FFFD}A"])
    }
}
