internal import Handshake
internal import PrivateKeys
internal import SigningWire
internal import System
internal import Wire
internal import X509

/// The private keys in the signer, under the references that workers use.
struct HeldKeys {
    private var roles: [KeyReference: SigningKey] = [:]
    /// Keys that came with requests, keyed by job ID, each with the only worker that may use it.
    private var requests: [UInt64: (worker: UInt32, key: SigningKey?)] = [:]

    /// Looks up a key. Role keys are usable by every worker, per-request keys only by the worker that runs the request.
    func find(_ reference: KeyReference, for worker: UInt32) -> SigningKey? {
        guard reference.isOfJob else { return roles[reference] }
        guard let held = requests[reference.rawValue & ~(1 << 63)], held.worker == worker else { return nil }
        return held.key
    }

    /// Opens all keys of a role, or none.
    mutating func load(_ wanted: SignerKeys, _ descriptors: ReceivedDescriptors) -> SignerVerdict {
        var verdict = SignerVerdict(owner: wanted.owner, generation: wanted.generation)
        var opened: [KeyReference: SigningKey] = [:]
        for part in wanted.parts {
            do throws(KeyOpeningError) {
                let contents = try Self.contents(of: part, descriptors)
                if part.kind == .postQuantumPrivateKey, !GnuTLS.knowsMLDSA {
                    // Workers omit this pair and log that; the other pairs are still used.
                    verdict.parts.append([])
                } else if part.isKey {
                    let key = try Self.open(part, contents)
                    let reference = KeyReference(
                        wanted.owner, generation: wanted.generation, kind: part.kind, pair: part.pair)
                    opened[reference] = key
                    verdict.parts.append(key.publicPEM)
                } else {
                    verdict.parts.append(try Self.certificates(part, contents))
                }
            } catch {
                verdict.problem = MessageText.fit(
                    "\(part.isKey ? "private key" : "certificate") \(part.place) cannot be used: \(error.text)")
                verdict.isPassing = error.isPassing
                verdict.parts = []
                return verdict
            }
        }
        roles.merge(opened) { _, new in new }
        return verdict
    }

    mutating func release(_ owner: CredentialsOwner, _ generation: UInt32) {
        roles = roles.filter { reference, _ in !reference.belongs(to: owner, generation: generation) }
    }

    /// Stores the key of a request. If it cannot be parsed, the request has no key.
    mutating func hold(_ job: UInt64, for worker: UInt32, _ key: SecretRange, in buffer: borrowing SecretBuffer) {
        let opened = unsafe buffer.withUnsafeBytes { raw -> SigningKey? in
            try? unsafe SigningKey(der: UnsafeRawBufferPointer(rebasing: raw[key.range]))
        }
        requests[job] = (worker, opened)
    }

    mutating func forget(_ job: UInt64) {
        requests[job] = nil
    }

    /// Removes the request keys of a worker.
    mutating func forgetAll(of worker: UInt32) {
        requests = requests.filter { $0.value.worker != worker }
    }

    private static func contents(
        of part: SignerPart, _ descriptors: ReceivedDescriptors
    ) throws(KeyOpeningError) -> SealedContents? {
        guard part.bringsDescriptor, let descriptor = descriptors.take() else { return nil }
        do throws(SystemError) {
            return try SealedContents(of: descriptor)
        } catch {
            throw KeyOpeningError(error.description)
        }
    }

    private static func open(
        _ part: SignerPart, _ contents: consuming SealedContents?
    ) throws(KeyOpeningError) -> SigningKey {
        switch part.source {
        case .url(let url, _): return try SigningKey(url: url, pin: TokenPIN(contents))
        case .file:
            guard let contents = consume contents else { throw KeyOpeningError("no file came") }
            return try unsafe contents.withUnsafeBytes { (raw) throws(KeyOpeningError) in
                try unsafe SigningKey(pem: raw)
            }
        }
    }

    private static func certificates(
        _ part: SignerPart, _ contents: consuming SealedContents?
    ) throws(KeyOpeningError) -> [UInt8] {
        guard case .url(let url, _) = part.source else { throw KeyOpeningError("it is no URL") }
        let text = try SigningKey.certificates(url: url, pin: TokenPIN(contents))
        guard text.count <= MessageLimit.certificate else { throw KeyOpeningError("its chain is too long") }
        return text
    }
}
