import Foundation
import Glibc
import Handshake
import KernelWire
import Policy
import Testing

@testable import System
@testable import Unconfined
@testable import Upcall

/// An upcall whose kernel is the test: requests are queued by hand, answers are kept.
final class ScriptedUpcall: Upcall {
    struct Answer {
        let accepted: AcceptedHandshake
        let status: Status
        let remoteIdentity: KeySerial?
    }

    private var queue: [AcceptedHandshake] = []
    private(set) var answers: [Answer] = []
    /// What /proc/self/fd calls our ends of the connections.
    private(set) var socketNames: [String] = []

    /// The time at which requests are accepted.
    var clock = Clock.monotonicNanoseconds
    /// Requests that one `drain` takes at most.
    var batch = Int.max
    /// Nobody hears of requests any longer.
    private(set) var isRetired = false
    /// Who else listens; `nil` where the kernel does not tell.
    var others: [RivalListener]? = []

    var takesTags = false
    /// What the kernel has against answers.
    var refusal: UpcallError?
    /// Whether connections stand once they are up; `nil` where the kernel does not tell.
    var standing: Bool?
    /// So often it was asked.
    private(set) var looks = 0

    var descriptors: [Int32] { [] }
    var isBehind: Bool { !queue.isEmpty }

    func drain(_ body: (AcceptedHandshake) -> Void) -> [UpcallError] {
        let waiting = queue.prefix(batch)
        queue = Array(queue.dropFirst(batch))
        for accepted in waiting { body(accepted) }
        return []
    }

    func retire() { isRetired = true }

    func rivals() throws(UpcallError) -> [RivalListener] {
        guard let others else { throw .noReply(command: "SOCK_DIAG_BY_FAMILY") }
        return others
    }

    func connection(of accepted: AcceptedHandshake) -> ConnectionDiagnostics? {
        guard standing != nil else { return nil }
        let end = [UInt8](repeating: 0, count: 16)
        return ConnectionDiagnostics(local: [2, 0] + end, peer: [2, 0] + end, cookie: 1)
    }

    func isEstablished(_ connection: ConnectionDiagnostics) -> Bool? {
        looks += 1
        return standing
    }

    func answer(_ accepted: AcceptedHandshake, status: Status, remoteIdentity: KeySerial?) throws(UpcallError) {
        accepted.takeSocket()?.close()
        if let refusal { throw refusal }
        answers.append(Answer(accepted: accepted, status: status, remoteIdentity: remoteIdentity))
    }

    /// Queues a request on our end of a fresh connection and returns the peer's end.
    func ask(_ request: HandshakeRequest) throws -> OwnedDescriptor {
        try ask(.success(request))
    }

    /// Queues a request on a connection that was accepted.
    func ask(_ request: HandshakeRequest, on socket: consuming OwnedDescriptor) {
        queue.append(AcceptedHandshake(socket: socket, request: .success(request), acceptedAt: clock()))
    }

    func ask(_ request: Result<HandshakeRequest, HandshakeFailure>) throws -> OwnedDescriptor {
        let connection = try LoopbackConnection()
        socketNames.append(
            try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/fd/\(connection.client.number)"))
        queue.append(
            AcceptedHandshake(socket: try connection.client.duplicate(), request: request, acceptedAt: clock()))
        return try connection.server.duplicate()
    }
}
