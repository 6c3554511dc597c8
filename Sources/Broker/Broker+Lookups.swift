internal import Handshake
internal import System
internal import Wire

/// Workers' questions for PSKs: the key of the identity that a peer has offered.
extension Broker {
    /// Answers what a worker asks: allowed for its own server-side PSK handshakes, a few times each.
    func serveLookups(of id: WorkerID) {
        attempt(id) { worker throws(WorkerFault) in
            while let lookup = try worker.receiveLookup() {
                let job = try permit(lookup, from: worker)
                job.lookups += 1
                try answer(lookup, for: job, to: worker)
            }
        }
    }

    private func permit(_ lookup: KeyLookup, from worker: WorkerProcess) throws(WorkerFault) -> Job {
        do {
            try table.check(lookup.job, belongsTo: worker.id)
        } catch {
            throw .brokeProtocol("a key lookup for a handshake that is not its own")
        }
        guard let job = jobs[lookup.job], job.request.role == .server,
            job.request.authentication == .preSharedKey, job.request.keyUpdate == nil
        else { throw .brokeProtocol("a key lookup for a handshake without PSKs") }
        guard job.lookups < MessageLimit.lookups else { throw .brokeProtocol("too many key lookups") }
        return job
    }

    private func answer(_ lookup: KeyLookup, for job: Job, to worker: WorkerProcess) throws(WorkerFault) {
        defer { keys.forget() }
        let found: KeyStore.Found?
        do {
            found = try key(of: lookup.identity, for: job)
        } catch {
            try worker.answer(.unusable(error.detail), key: keys.buffer)
            return
        }
        guard let found else {
            try worker.answer(.unknown, key: keys.buffer)
            return
        }
        job.pskSerials[lookup.identity] = found.serial
        try worker.answer(.key(SecretRange(count: found.length)), key: keys.buffer)
    }

    /// The key of an identity, for a server; looks at the keyrings before it says that there is none.
    private func key(of identity: [UInt8], for job: Job) throws(HandshakeFailure) -> KeyStore.Found? {
        let keyring = job.request.keyring, scope = job.profile.keyrings
        if let found = try keys.find(identity, keyring: keyring, scope: scope) { return found }
        // Strangers choose how many identities are looked up, and a look reads the whole of /proc/keys.
        guard lookIfDue(nil, keyrings: true, { refreshKeys() }) else { return nil }
        return try keys.find(identity, keyring: keyring, scope: scope)
    }
}
