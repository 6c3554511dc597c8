import Glibc
import Handshake
import Policy
import Testing

@testable import System
@testable import Unconfined
@testable import Upcall

/// The kernel's side of AF_TLSH, played by a script.
private final class ScriptedListener: ListenerPort {
    /// What an option says; an errno in place of a value.
    enum Answer {
        case bytes([UInt8])
        case error(Int32)

        static func number(_ value: Int32) -> Answer { .bytes(unsafe withUnsafeBytes(of: value) { unsafe Array($0) }) }
        static func text(_ value: String) -> Answer { .bytes(Array(value.utf8)) }
    }

    var listenError: Int32 = 0
    /// What the next calls of accept fail with.
    var acceptErrors: [Int32] = []
    private var numbers: [Int32] = []
    private var options: [Int32: [Int32: Answer]] = [:]
    private(set) var rooms: [Int32: Int] = [:]
    private(set) var levels: Set<Int32> = []

    func listen(for family: ListenerFamily, _ parameters: ListenerParameters) throws(SystemError) -> OwnedDescriptor {
        guard listenError == 0 else { throw SystemError("bind", listenError) }
        return OwnedDescriptor(adopting: dup(0))
    }

    func accept(on listener: Int32) throws(SystemError) -> OwnedDescriptor? {
        guard acceptErrors.isEmpty else { throw SystemError("accept4", acceptErrors.removeFirst()) }
        guard numbers.isEmpty else { return OwnedDescriptor(adopting: numbers.removeFirst()) }
        return nil
    }

    func option(_ number: Int32, at level: Int32, of socket: Int32, room: Int) throws(SystemError) -> [UInt8] {
        rooms[number] = room
        levels.insert(level)
        switch options[socket]?[number] {
        case .bytes(let bytes): return bytes
        case .error(let error): throw SystemError("getsockopt", error)
        case nil: throw SystemError("getsockopt", ENOPROTOOPT)
        }
    }

    private(set) var given: [Int32: [UInt8]] = [:]

    func setOption(_ number: Int32, at level: Int32, of socket: Int32, to value: [UInt8]) throws(SystemError) {
        given[number] = value
    }

    func holders(_ parameters: ListenerParameters) -> [String] { ["other (12)"] }

    /// Queues a consumer whose options are the usual ones with `changes`.
    func ask(_ type: Int32, _ changes: [Int32: Answer] = [:]) throws -> OwnedDescriptor {
        let connection = try LoopbackConnection()
        let number = try connection.client.duplicate().release()
        let usual: [Int32: Answer] = [1: .text(""), 2: .number(0), 3: .number(type), 4: .number(0)]
        options[number] = usual.merging(changes) { $1 }
        numbers.append(number)
        return try connection.server.duplicate()
    }
}

@Suite("AF_TLSH listener")
struct ListenerUpcallTests {
    private let kernel = ScriptedListener()

    /// The one request that waits, answered.
    private func only(_ upcall: ListenerUpcall) -> Result<HandshakeRequest, HandshakeFailure>? {
        var found: [Result<HandshakeRequest, HandshakeFailure>] = []
        let problems = upcall.drain { accepted in
            found.append(accepted.request)
            try? upcall.answer(accepted, status: .success, remoteIdentity: nil)
            #expect(accepted.number == -1)
        }
        #expect(problems.isEmpty)
        #expect(found.count == 1)
        return found.first
    }

    private func upcall(_ parameters: ListenerParameters = ListenerParameters()) throws -> ListenerUpcall {
        try ListenerUpcall(.ipv4, parameters, port: kernel)
    }

    @Test(
        "each type becomes its role and authentication, on the transport that may lack a name",
        arguments: [
            (0, Role.client, Authentication.x509), (1, .client, .preSharedKey), (2, .client, .unauthenticated),
            (3, .server, .x509), (4, .server, .preSharedKey),
        ] as [(Int32, Role, Authentication)])
    func kinds(type: Int32, role: Role, authentication: Authentication) throws {
        let peer = try kernel.ask(type, [2: .number(77)])
        defer { _ = peer.number }
        let request = try #require(try only(upcall())?.get())
        #expect(request.transport == .listener)
        #expect(request.role == role)
        #expect(request.authentication == authentication)
        #expect(request.peerIdentities == (type == 1 ? [KeySerial(77)].compactMap(\.self) : []))
        #expect(throws: Never.self) { try request.validate() }
    }

    @Test("names, priorities and serials are taken as given; the private key of option 5 goes before option 2")
    func parameters() throws {
        let peer = try kernel.ask(
            0,
            [
                1: .text("NORMAL"), 2: .number(5), 4: .number(6), 5: .number(7), 6: .text("nfs.example"),
            ])
        defer { _ = peer.number }
        let request = try #require(try only(upcall())?.get())
        #expect(request.priorities == "NORMAL")
        #expect(request.peerName == "nfs.example")
        #expect(request.certificate == KeySerial(6))
        #expect(request.privateKey == KeySerial(7))
    }

    @Test("a kernel with four options is served; its key is option 2, and numbers ask for 4 bytes exactly")
    func first() throws {
        let peer = try kernel.ask(0, [2: .number(5), 4: .number(6)])
        defer { _ = peer.number }
        let request = try #require(try only(upcall(ListenerParameters(family: 18, level: 300)))?.get())
        #expect(request.privateKey == KeySerial(5))
        #expect(request.peerName == nil)
        #expect(request.priorities == nil)
        #expect([2, 3, 4, 5].allSatisfy { kernel.rooms[$0] == 4 })
        #expect(kernel.levels == [300])
    }

    @Test("a type that nobody knows is refused with its number, a text that is none as malformed")
    func refused() throws {
        let one = try kernel.ask(9)
        defer { _ = one.number }
        #expect(try only(upcall()) == .failure(HandshakeFailure(.requestUnsupported, "handshake type 9")))
        let two = try kernel.ask(0, [1: .bytes([0x4E, 0])])
        defer { _ = two.number }
        guard case .failure(let failure) = try only(upcall()) else {
            Issue.record("a priority string with a NUL was taken")
            return
        }
        #expect(failure.reason == .requestMalformed)
    }

    @Test("a consumer that has gone is closed and told of, and the others are served")
    func gone() throws {
        let one = try kernel.ask(0, [3: .error(EBUSY)])
        defer { _ = one.number }
        let two = try kernel.ask(0)
        defer { _ = two.number }
        let upcall = try upcall()
        var served = 0
        let problems = upcall.drain { accepted in
            served += 1
            try? upcall.answer(accepted, status: .accessDenied, remoteIdentity: nil)
        }
        #expect(served == 1)
        guard case .consumerGone = problems.first else {
            Issue.record("nothing was said of it: \(problems)")
            return
        }
        var byte: UInt8 = 0
        #expect(unsafe recv(one.number, &byte, 1, 0) == 0, "the peer sees the end of the stream")
    }

    @Test("a key update names session and steps; what is none of ours, or makes no sense, is refused")
    func keyUpdate() throws {
        let reference = SessionReference(instance: 3, session: 4)
        let steps = ScriptedListener.Answer.number(3)
        let one = try kernel.ask(5, [7: .bytes(reference.bytes), 8: steps])
        defer { _ = one.number }
        let request = try #require(try only(upcall())?.get())
        #expect(request.keyUpdate == KeyUpdate(session: reference, steps: [.receive, .send]))
        let wrong: [(ScriptedListener.Answer, ScriptedListener.Answer, FailureReason)] = [
            (.bytes([1, 2]), steps, .sessionUnknown), (.bytes([]), steps, .sessionUnknown),
            (.bytes(reference.bytes), .number(0), .requestMalformed),
            (.bytes(reference.bytes), .number(4), .requestMalformed),
            (.bytes(reference.bytes), .number(-1), .requestMalformed),
            (.bytes(reference.bytes), .number(258), .requestMalformed),
        ]
        for (session, steps, reason) in wrong {
            let peer = try kernel.ask(5, [7: session, 8: steps])
            defer { _ = peer.number }
            guard case .failure(let failure) = try only(upcall()) else {
                Issue.record("\(session) and \(steps) were taken")
                continue
            }
            #expect(failure.reason == reason)
        }
    }

    @Test("a reference is given to a consumer that wants one, with a success and not otherwise")
    func givesReference() throws {
        let reference = SessionReference(instance: 3, session: 4)
        for status in [Status.accessDenied, .success] {
            let peer = try kernel.ask(0, [7: .bytes([])])
            defer { _ = peer.number }
            let upcall = try upcall()
            let problems = upcall.drain { accepted in
                #expect((try? accepted.request.get())?.wantsSession == true)
                accepted.sessionReference = reference
                try? upcall.answer(accepted, status: status, remoteIdentity: nil)
            }
            #expect(problems.isEmpty)
            #expect(kernel.given[7] == (status == .success ? reference.bytes : nil))
        }
        let other = try kernel.ask(0)
        defer { _ = other.number }
        #expect(try only(upcall())?.get().wantsSession == false)
    }

    @Test("the answer closes the descriptor, whatever the status")
    func closes() throws {
        let peer = try kernel.ask(3)
        defer { _ = peer.number }
        _ = try only(upcall())
        var byte: UInt8 = 0
        #expect(unsafe recv(peer.number, &byte, 1, 0) == 0)
    }

    @Test("an accept that fails ends the drain and is told")
    func acceptFails() throws {
        kernel.acceptErrors = [EPERM]
        let problems = try upcall().drain { _ in Issue.record("there is nothing to take") }
        #expect(problems == [.system(SystemError("accept4", EPERM))])
    }

    @Test("without a descriptor left one request is closed, told with the remedy, and the next ones are served")
    func noDescriptors() throws {
        let one = try kernel.ask(0)
        let two = try kernel.ask(0)
        defer { _ = two.number }
        kernel.acceptErrors = [EMFILE]
        let upcall = try upcall()
        var served = 0
        let problems = upcall.drain { accepted in
            served += 1
            try? upcall.answer(accepted, status: .accessDenied, remoteIdentity: nil)
        }
        #expect(served == 1)
        #expect(problems.count == 1)
        #expect(problems.first?.description.contains("LimitNOFILE") == true)
        var byte: UInt8 = 0
        #expect(unsafe recv(one.number, &byte, 1, 0) == 0)
    }

    @Test("no family, a taken one and anything else are three things")
    func opening() {
        kernel.listenError = EAFNOSUPPORT
        #expect(throws: UpcallError.listenerMissing(family: 46)) { try upcall() }
        kernel.listenError = EADDRINUSE
        #expect(throws: UpcallError.listenerTaken(.ipv4, holders: ["other (12)"])) { try upcall() }
        kernel.listenError = EPERM
        #expect(throws: UpcallError.system(SystemError("bind", EPERM))) { try upcall() }
        #expect(UpcallError.system(SystemError("bind", EPERM)).description.contains("CAP_NET_BIND_SERVICE"))
    }

    @Test("a kernel without the family says so, and no process holds it")
    func realKernel() {
        let parameters = ListenerParameters(family: 46)
        let error = #expect(throws: UpcallError.self) { try ListenerUpcall(.ipv6, parameters) }
        #expect(error == .listenerMissing(family: 46))
        #expect(KernelListenerPort().holders(parameters).isEmpty)
    }
}
