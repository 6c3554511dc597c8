import Glibc
import Testing
import Wire

@testable import System
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
        let holder = try #require(ProcessTable.holder(ofSocket: rivalInode, guess: 0))
        #expect(holder.process == getpid())
        rival = nil
        #expect(try !diagnosis.rivals().contains { $0.inode == rivalInode })
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
