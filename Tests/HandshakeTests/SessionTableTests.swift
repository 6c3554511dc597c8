import Testing

@testable import Handshake
@testable import Policy

@Suite("Sessions whose keys can be updated")
struct SessionTableTests {
    private let request = HandshakeRequest(transport: .listener, role: .server, authentication: .x509)

    private func session(_ worker: Int, socket: UInt64, until: UInt64) -> SessionTable.Session {
        SessionTable.Session(worker: WorkerID(worker), socket: socket, request: request, until: until)
    }

    private func reason(
        _ table: inout SessionTable, _ reference: SessionReference, socket: UInt64, now: UInt64
    ) -> FailureReason? {
        do throws(HandshakeFailure) {
            _ = try table.find(reference, socket: socket, now: now)
            return nil
        } catch {
            return error.reason
        }
    }

    @Test("a reference is 16 bytes, and comes back as what it was; other lengths are none")
    func reference() {
        let reference = SessionReference(instance: 0x0102_0304_0506_0708, session: .max - 1)
        #expect(reference.bytes == [1, 2, 3, 4, 5, 6, 7, 8, 255, 255, 255, 255, 255, 255, 255, 254])
        #expect(SessionReference(reference.bytes) == reference)
        #expect(SessionReference([]) == nil)
        #expect(SessionReference(Array(reference.bytes.dropLast())) == nil)
        #expect(SessionReference(reference.bytes + [0]) == nil)
    }

    @Test("steps must move a direction, may ask only when sending, and have no other bits")
    func steps() {
        let sound = (0...UInt8.max).filter { KeyUpdate.Steps(rawValue: $0).isValid }
        #expect(sound == [1, 2, 3, 6, 7])
    }

    @Test("a session is found on its own socket, for its time, by its own instance")
    func find() {
        var table = SessionTable(instance: 9, limit: 4)
        let reference = table.keep(5, session(1, socket: 77, until: 100), now: 0)
        #expect(reference == SessionReference(instance: 9, session: 5))
        #expect(reason(&table, reference, socket: 77, now: 99) == nil)
        #expect(reason(&table, reference, socket: 78, now: 99) == .sessionElsewhere)
        #expect(reason(&table, SessionReference(instance: 8, session: 5), socket: 77, now: 0) == .sessionUnknown)
        #expect(reason(&table, SessionReference(instance: 9, session: 6), socket: 77, now: 0) == .sessionUnknown)
        table.renew(5, until: 200)
        #expect(reason(&table, reference, socket: 77, now: 150) == nil)
        #expect(reason(&table, reference, socket: 77, now: 200) == .sessionUnknown)
        #expect(table.count == 0)
    }

    @Test("the bound holds: those past their time go first, then the one that ends first")
    func bound() {
        var table = SessionTable(instance: 1, limit: 2)
        let past = table.keep(1, session(1, socket: 1, until: 10), now: 0)
        let long = table.keep(2, session(1, socket: 2, until: 100), now: 0)
        let short = table.keep(3, session(1, socket: 3, until: 50), now: 20)
        #expect(reason(&table, past, socket: 1, now: 20) == .sessionUnknown)
        let newest = table.keep(4, session(1, socket: 4, until: 60), now: 20)
        #expect(table.count == 2)
        #expect(reason(&table, short, socket: 3, now: 20) == .sessionUnknown)
        #expect(reason(&table, long, socket: 2, now: 20) == nil)
        #expect(reason(&table, newest, socket: 4, now: 20) == nil)
    }

    @Test("with a worker go its sessions, and no other's")
    func lose() {
        var table = SessionTable(instance: 1, limit: 8)
        let one = table.keep(1, session(1, socket: 1, until: 10), now: 0)
        let two = table.keep(2, session(2, socket: 2, until: 10), now: 0)
        table.lose(WorkerID(1))
        #expect(reason(&table, one, socket: 1, now: 0) == .sessionUnknown)
        #expect(reason(&table, two, socket: 2, now: 0) == nil)
        table.forget(2)
        #expect(table.count == 0)
    }
}
