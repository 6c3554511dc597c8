import Glibc
import Handshake
import KernelWire
import Policy
import Testing

@testable import System
@testable import Unconfined
@testable import Upcall

@Suite("Session tags on their way to the kernel")
struct SessionTagTests {
    /// Mainline's policy of DONE, and that with the attribute of ktls-utils' kernel.
    private static let mainline: [UInt16: UInt32] = [1: 4, 2: 8, 3: 4]
    private static let extended = mainline.merging([4: 12]) { $1 }

    private func verdict(
        _ policy: [UInt16: UInt32]?, tagError: Int32 = 0, status: Status = .success
    ) throws -> ScriptedKernel.Verdict? {
        let connection = try LoopbackConnection()
        let kernel = ScriptedKernel()
        kernel.policy = policy
        kernel.tagError = tagError
        let socket = try connection.server.duplicate().release()
        kernel.waiting = [.request(socket: socket, attributes: [(3, 2), (5, 3)])]
        let upcall = kernel.upcall
        upcall.learnAboutTags()
        var accepted: AcceptedHandshake?
        #expect(upcall.drain { accepted = $0 } == [])
        try upcall.answer(
            try #require(accepted), status: status, remoteIdentity: KeySerial(7), tags: ["trusted", "b"])
        #expect(kernel.verdicts.count == 1)
        return kernel.verdicts.first
    }

    @Test("they are sent to a kernel whose policy has the attribute as text")
    func sent() throws {
        let verdict = try #require(try verdict(Self.extended))
        #expect(verdict.tags == ["trusted", "b"])
        #expect(verdict.status == 0 && verdict.remoteIdentity == 7 && verdict.wasOpen)
    }

    @Test("they are left out for a kernel that has none, or that uses the number for something else")
    func leftOut() throws {
        for policy in [nil, Self.mainline, Self.mainline.merging([4: 4]) { $1 }, [:]] {
            let verdict = try #require(try verdict(policy))
            #expect(verdict.tags.isEmpty && verdict.status == 0 && verdict.remoteIdentity == 7)
        }
    }

    @Test("a kernel that refuses them all the same is told again without")
    func again() throws {
        let verdict = try #require(try verdict(Self.extended, tagError: EINVAL))
        #expect(verdict.tags.isEmpty && verdict.remoteIdentity == 7)
    }

    @Test(
        "at most as many are sent as the kernel says, or 64, and none of more than 255 bytes",
        arguments: [(nil, 64), (0, 0), (3, 3), (100, 100), (.max, 130)] as [(UInt32?, Int)])
    func bounded(_ most: UInt32?, _ count: Int) throws {
        let kernel = ScriptedKernel()
        kernel.policy = Self.extended
        let connection = try LoopbackConnection()
        let socket = try connection.server.duplicate().release()
        var attributes: [(UInt16, UInt32)] = [(3, 2), (5, 3)]
        if let most { attributes.append((10, most)) }
        kernel.waiting = [.request(socket: socket, attributes: attributes)]
        let upcall = kernel.upcall
        upcall.learnAboutTags()
        var taken: AcceptedHandshake?
        #expect(upcall.drain { taken = $0 } == [])
        let accepted = try #require(taken)
        let long = String(repeating: "x", count: 256)
        let tags = [long, String(repeating: "y", count: 255)] + (1..<130).map { "tag-\($0)" }
        let (told, leftOut) = accepted.divide(tags)
        #expect(told == Array(tags.dropFirst().prefix(count)))
        #expect(leftOut == [long] + tags.dropFirst(1 + count))
        try upcall.answer(accepted, status: .success, remoteIdentity: nil, tags: tags)
        #expect(kernel.verdicts.first?.tags == told)
    }

    @Test("a failure has none")
    func failure() throws {
        #expect(try #require(try verdict(Self.extended, status: .accessDenied)).tags.isEmpty)
    }

    @Test("the real kernel's answer is understood: its own family takes a name as text, and no number 4")
    func realKernel() throws {
        let socket = try NetlinkSocket()
        let getFamily: UInt8 = 3
        var policy = NetlinkPolicy(ofCommand: getFamily)
        let question = policy
        var bytes = [UInt8](repeating: 0, count: 64)
        var span = bytes.mutableSpan
        let length = try question.encodeQuestion(family: 16, sequence: 5, to: &span)
        try socket.send(bytes.span.extracting(first: length))
        var answers = 0
        while let datagram = try socket.receive() {
            for message in try NetlinkMessage.all(in: datagram.span) where message.type == NetlinkPolicy.controller {
                try policy.add(message, in: datagram.span)
                answers += 1
            }
        }
        #expect(answers > 0)
        #expect(policy.takesText(2) && !policy.takesText(1) && !policy.takesText(4))
    }
}
