import Glibc
import KernelWire
import TestSupport
import Testing

@testable import System
@testable import Unconfined
@testable import Upcall

@Suite("Who else listens")
struct NetlinkDiagnosisTests {
    @Test("a second socket in the group is seen while it is open, our own never")
    func rivals() throws {
        let own = try NetlinkSocket()
        // Every kernel has the family nlctrl and its group notify.
        let group = try own.resolve(group: "notify", of: "nlctrl")
        try own.join(group)
        let diagnosis = try NetlinkDiagnosis(group: group, besides: own.number)
        let before = try diagnosis.rivals()
        let inode = try FileIdentity(ofNumber: own.number).inode
        #expect(!before.contains { $0.inode == inode })

        var rival: NetlinkSocket? = try NetlinkSocket()
        try rival?.join(group)
        let rivalInode = try FileIdentity(ofNumber: try #require(rival?.number)).inode
        #expect(try diagnosis.rivals().contains { $0.inode == rivalInode })
        // A child that another test starts has the socket too, until it executes its program.
        try wait { ProcessTable.holder(ofSocket: rivalInode, guess: 0)?.process == getpid() }
        rival = nil
        try wait { try !diagnosis.rivals().contains { $0.inode == rivalInode } }
    }

    @Test("a TCP connection stands until one end closes it; another socket between the same ports is another")
    func connections() throws {
        let own = try NetlinkSocket()
        let diagnosis = try NetlinkDiagnosis(group: 1, besides: own.number)
        let connection = try LoopbackConnection()
        let number = connection.client.number
        let ends = try SocketFacts.ends(of: number)
        let cookie = try SocketFacts.cookie(of: number)
        let asked = try #require(ConnectionDiagnostics(local: ends.local, peer: ends.peer, cookie: cookie))
        #expect(diagnosis.isEstablished(asked) == true)
        let other = try #require(ConnectionDiagnostics(local: ends.local, peer: ends.peer, cookie: cookie + 1))
        #expect(diagnosis.isEstablished(other) == false)
        let result = shutdown(connection.server.number, Int32(SHUT_WR))
        #expect(result == 0)
        #expect(awaitInput(number))
        #expect(diagnosis.isEstablished(asked) == false)
    }

    @Test("addresses that are cut short, or of different families, are none")
    func addresses() {
        let four = [UInt8]([2, 0, 8, 1, 192, 0, 2, 1]), six = [10, 0] + [UInt8](repeating: 1, count: 26)
        #expect(ConnectionDiagnostics(local: four, peer: four, cookie: 1) != nil)
        #expect(ConnectionDiagnostics(local: six, peer: six, cookie: 1) != nil)
        #expect(ConnectionDiagnostics(local: six, peer: four, cookie: 1) == nil)
        #expect(ConnectionDiagnostics(local: [1, 0, 1, 1], peer: [1, 0, 1, 1], cookie: 1) == nil)
        for count in four.indices {
            #expect(ConnectionDiagnostics(local: Array(four.prefix(count)), peer: four, cookie: 1) == nil)
            #expect(ConnectionDiagnostics(local: four, peer: Array(four.prefix(count)), cookie: 1) == nil)
        }
    }

    @Test("a socket outside of the group is none")
    func outside() throws {
        let own = try NetlinkSocket()
        let group = try own.resolve(group: "notify", of: "nlctrl")
        try own.join(group)
        let diagnosis = try NetlinkDiagnosis(group: group, besides: own.number)
        let other = try NetlinkSocket()
        let inode = try FileIdentity(ofNumber: other.number).inode
        #expect(try !diagnosis.rivals().contains { $0.inode == inode })
    }
}
