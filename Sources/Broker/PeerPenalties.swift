internal import Handshake
internal import Policy
internal import Settings
internal import Upcall

/// Refuses clients for a time whose handshakes killed a worker or took too much processor time. Servers are never
/// refused, because this host's own mounts use them.
final class PeerPenalties {
    private(set) var penalties = Penalties()
    private var processorBudget = ProcessorBudget()
    private let log: DaemonLog

    init(log: DaemonLog) { self.log = log }

    /// Refuses a client that has a penalty.
    func check(_ handshake: Handshake, now: UInt64) throws(HandshakeFailure) {
        guard handshake.request.role == .server else { return }
        guard let penalty = penalties.refuse(handshake.peers, in: handshake.request.namespace, now: now) else { return }
        let seconds = (penalty.until - now) / 1_000_000_000 + 1
        throw HandshakeFailure(
            .peerPenalised, "\(penalty.peer), for \(seconds) s more: \(Self.describe(penalty.offence))")
    }

    /// Logs and penalises a handshake that took more processor time than permitted.
    func noteCost(of handshake: Handshake, _ result: HandshakeResult, exempt: [NetworkPrefix], now: UInt64) {
        guard handshake.request.keyUpdate == nil, processorBudget.exceeds(result) else { return }
        log.warning(
            "\(LogLine.consumer(of: handshake.request)): the handshake with \(LogLine.describe(handshake.peer)) took "
                + "\(LogLine.milliseconds(result.processorTime)) ms of processor time, more than the "
                + "\(LogLine.milliseconds(processorBudget.limit)) ms that a handshake may cost here; remedy: if this goes on, keep the address away by a packet filter",
            .handshakeOverBudget)
        punish(handshake, for: .overBudget, exempt: exempt, now: now)
    }

    /// Penalises a client, unless the settings exempt it.
    func punish(
        _ handshake: Handshake, for offence: Penalties.Offence, exempt: [NetworkPrefix], now: UInt64
    ) {
        guard handshake.request.role == .server else { return }
        let address = NetworkAddress(ofSocketAddress: handshake.accepted.peerAddress)
        if let address, exempt.contains(where: { $0.contains(address) }) { return }
        let time = penalties.punish(
            handshake.peers, in: handshake.request.namespace, for: offence, now: now)
        guard time > 0 else { return }
        log.warning(
            "\(LogLine.consumer(of: handshake.request)): \(handshake.peers) is refused for \(time / 1_000_000_000) s: "
                + "\(Self.describe(offence)) with \(LogLine.describe(handshake.peer)); remedy: list the address in penalty_exempt of "
                + "[limits] if others share it", .peerRefused)
    }

    private static func describe(_ offence: Penalties.Offence) -> String {
        switch offence {
        case .workerKilled: "a worker died in the middle of a handshake"
        case .overBudget: "again too much processor time for a handshake"
        }
    }
}
