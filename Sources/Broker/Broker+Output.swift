internal import Handshake
internal import System

/// What is written to the log on others' account: by children to their standard error, and about strangers.
extension Broker {
    /// Writes what a child has written to its standard error since.
    func relay(_ output: ChildOutput, _ lines: inout OutputLines, of name: String, isLast: Bool = false) {
        for line in lines.take(output.read(), isLast: isLast)
        where childLines.admits(name, about: line, now: Clock.monotonicNanoseconds()) {
            log.warning("\(name): \(line)")
        }
    }

    /// Looks what children have written. A pipe holds 64 kB, so that a child which writes more in a second loses it.
    func relayOutputs() {
        for worker in workers.values { relayOutput(of: worker) }
        if let process = signer.process { relayOutput(of: process) }
    }

    func relayOutput(of worker: WorkerProcess, isLast: Bool = false) {
        relay(worker.output, &worker.outputLines, of: "worker \(worker.child.identifier)", isLast: isLast)
    }

    func relayOutput(of process: SignerProcess, isLast: Bool = false) {
        relay(process.output, &process.outputLines, of: "signer \(process.child.identifier)", isLast: isLast)
    }

    /// Whether the line of a failed handshake is to be written. Strangers can fail at a server as often as they like.
    func isWritten(of job: Job, _ result: HandshakeResult) -> Bool {
        guard case .failure(let failure) = result.outcome, job.request.role == .server, job.request.keyUpdate == nil,
            log.level == 0
        else { return true }
        let sender = FailingPeer(consumer: LogLine.consumer(of: job.request), peer: job.peers)
        return strangers.admits(
            sender, about: failure.reason.row.explanation, now: Clock.monotonicNanoseconds())
    }

    /// Says how many lines were left out in a minute that is over.
    func summarise(_ now: UInt64) {
        for summary in strangers.summaries(at: now) {
            let consumer = summary.sender.map { $0.consumer } ?? "servers"
            let peer = summary.sender.map { "with \($0.peer)" } ?? "with other peers"
            log.warning(
                "\(consumer): \(summary.count) more handshakes \(peer) failed in the last minute, the last: \(summary.last); "
                    + "tlshctl metrics counts them all", .failuresSummarised)
        }
        for summary in childLines.summaries(at: now) {
            log.warning(
                "\(summary.sender ?? "other processes"): \(summary.count) more lines in the last minute, the last: "
                    + summary.last)
        }
    }
}

/// Whose failures are summed up together.
struct FailingPeer: Hashable, Sendable {
    let consumer: String
    let peer: PeerGroup
}
