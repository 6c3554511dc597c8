import Glibc
import TestSupport
import Testing

@testable import System
@testable import Unconfined

@Suite("Journal")
struct JournalTests {
    @Test("an entry has the protocol's fields, values with line breaks in their binary form")
    func datagram() {
        let directory = TemporaryDirectory()
        let receiver = JournalReceiver(in: directory)
        let journal = Journal(.automatic, socketPath: receiver.path)
        journal.log(.notice, "up", fields: [("TLSHD_PEER", "[::1]:2049"), ("TLSHD_TEXT", "a\nb")])
        let binary: [UInt8] = Array("TLSHD_TEXT\n".utf8) + [3, 0, 0, 0, 0, 0, 0, 0] + Array("a\nb\n".utf8)
        let text = "MESSAGE=up\nPRIORITY=5\nSYSLOG_IDENTIFIER=tlshd\nSYSLOG_FACILITY=4\nTLSHD_PEER=[::1]:2049\n"
        #expect(receiver.receive() == Array(text.utf8) + binary)
        #expect(journal.dropped == 0)
    }

    @Test("an entry too large for a datagram arrives as a sealed file")
    func large() throws {
        let directory = TemporaryDirectory()
        let receiver = JournalReceiver(in: directory)
        let journal = Journal(.automatic, socketPath: receiver.path)
        let text = String(repeating: "x", count: 1 << 20)
        journal.log(.error, text)
        #expect(journal.dropped == 0)
        var bytes = try SecretBuffer(capacity: 16)
        var flags: Int32 = 0
        let descriptors = ReceivedDescriptors()
        let length = try unsafe bytes.withUnsafeMutableBytes {
            try unsafe ControlMessage.receive(into: $0, &flags, descriptors, limit: 1, from: receiver.socket.number)
        }
        #expect(length == 0)
        guard let file = descriptors.take() else {
            Issue.record("no descriptor")
            return
        }
        let contents = try SealedContents(of: file)
        let expected = JournalEntry.encode(3, text, identifier: "tlshd", fields: [])
        #expect(contents.withSpan { span in span.indices.map { span[$0] } } == expected)
    }

    @Test("when the journal's queue is full, lines are dropped and counted, and nothing waits")
    func full() {
        let directory = TemporaryDirectory()
        let receiver = JournalReceiver(in: directory)
        let journal = Journal(.automatic, socketPath: receiver.path)
        for _ in 0..<2000 { journal.log(.info, "line") }
        #expect(journal.dropped > 0 && journal.dropped < 2000)
        #expect(!receiver.receive().isEmpty)
    }

    @Test("a line for stderr has the level only for the journal, and colour only for a terminal")
    func standardError() {
        let plain = StandardErrorStyle(isJournalStream: false, isTerminal: false)
        #expect(plain.line(.error, "broken", "tlshd", process: 7) == "tlshd[7]: broken\n")
        let stream = StandardErrorStyle(isJournalStream: true, isTerminal: false)
        #expect(stream.line(.error, "broken", "tlshd", process: 7) == "<3>tlshd[7]: broken\n")
        let terminal = StandardErrorStyle(isJournalStream: false, isTerminal: true)
        #expect(terminal.line(.error, "broken", "tlshd", process: 7) == "\u{1B}[1;31mtlshd[7]: broken\u{1B}[0m\n")
        #expect(terminal.line(.info, "fine", "tlshd", process: 7) == "tlshd[7]: fine\n")
    }

    /// A pipe that holds one page.
    private struct Pipe: ~Copyable {
        var reading: OwnedDescriptor?
        let writing: OwnedDescriptor

        init() {
            var ends: [Int32] = [-1, -1]
            let isMade = unsafe pipe(&ends) == 0
            precondition(isMade)
            reading = OwnedDescriptor(adopting: ends[0])
            writing = OwnedDescriptor(adopting: ends[1])
            let setSize: Int32 = 1031  // F_SETPIPE_SZ, fcntl(2)
            precondition(fcntl(ends[1], setSize, 4096) == 4096)
        }
    }

    @Test("a reader of stderr that has gone, or takes nothing, neither ends the daemon nor holds it up")
    func unreadStandardError() {
        let style = StandardErrorStyle(isJournalStream: false, isTerminal: false)
        let stuck = Pipe()
        #expect(style.write(.error, "short", "tlshd", to: stuck.writing.number))
        #expect(!style.write(.error, String(repeating: "x", count: 10_000), "tlshd", to: stuck.writing.number))
        var left = Pipe()
        left.reading = nil
        #expect(!style.write(.error, "short", "tlshd", to: left.writing.number))
    }
}
