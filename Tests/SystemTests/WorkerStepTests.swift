import Glibc
import TestSupport
import Testing

@testable import System
@testable import Unconfined

@Suite("What the broker sees of a worker and its sockets")
struct WorkerStepTests {
    @Test("what one side notes, the other reads; the file cannot be made shorter")
    func note() throws {
        let reader = try WorkerStep()
        #expect(reader.job == 0)
        let writer = try WorkerStep(mapping: reader.fileNumber)
        writer.job = 0x0102_0304_0506_0708
        #expect(reader.job == 0x0102_0304_0506_0708)
        #expect(ftruncate(reader.fileNumber, 0) == -1 && errno == EPERM)
    }

    @Test("what was written to a connection and read from it is told to the byte, whatever has arrived")
    func progress() throws {
        let connection = try LoopbackConnection()
        let (near, far) = (connection.client.number, connection.server.number)
        let begin = try #require(StreamProgress(of: near))
        var bytes = [UInt8](repeating: 7, count: 100)
        #expect(unsafe send(far, bytes, 100, 0) == 100)
        // It has arrived, and nobody has read it.
        #expect(unsafe recv(near, &bytes, 100, Int32(MSG_PEEK) | Int32(MSG_WAITALL)) == 100)
        #expect(StreamProgress(of: near) == begin)
        #expect(unsafe recv(near, &bytes, 1, 0) == 1)
        #expect(StreamProgress(of: near)?.read == begin.read + 1)
        #expect(StreamProgress(of: near)?.written == begin.written)
        #expect(unsafe send(near, bytes, 5, 0) == 5)
        #expect(StreamProgress(of: near)?.written == begin.written + 5)
    }

    @Test("of what is no TCP socket nothing is told")
    func others() throws {
        var ends = try MessageChannel.pair()
        #expect(StreamProgress(of: ends.takeFirst().number) == nil)
    }
}
