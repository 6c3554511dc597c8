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
        let group = try own.join(group: "notify", of: "nlctrl")
        let diagnosis = try NetlinkDiagnosis(group: group, besides: own.number)
        let before = try diagnosis.rivals()
        let inode = try FileIdentity(ofNumber: own.number).inode
        #expect(!before.contains { $0.inode == inode })

        var rival: NetlinkSocket? = try NetlinkSocket()
        _ = try rival?.join(group: "notify", of: "nlctrl")
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
        let group = try own.join(group: "notify", of: "nlctrl")
        let diagnosis = try NetlinkDiagnosis(group: group, besides: own.number)
        let other = try NetlinkSocket()
        let inode = try FileIdentity(ofNumber: other.number).inode
        #expect(try !diagnosis.rivals().contains { $0.inode == inode })
    }
}
