internal import Handshake
package import KernelWire
package import Keyrings
package import Policy
internal import Settings
package import System
internal import Unconfined
internal import Wire

/// Access to the keys in keyrings. Keys are looked up and read for each use, into memory that is wiped.
struct KeyStore: ~Copyable {
    private var keyrings: KeyringSet
    var file: PreSharedKeyFile
    /// The payload that was read last; `forget` wipes it.
    private(set) var buffer: SecretBuffer
    /// Number of bytes at the start of `buffer` that may hold the payload.
    private var exposed = 0
    /// Serial for the kernel if a peer's certificate was verified.
    let marker: KeySerial
    let kernel: any KernelKeys

    /// Creates the keyrings of this process. Call it before the first ACCEPT and before any other thread exists.
    static func establish(_ kernel: any KernelKeys, files: FileThreads) throws(SystemError) -> KeyStore {
        KeyStore(
            kernel, marker: try kernel.establish(), buffer: try SecretBuffer(capacity: MessageLimit.certificate),
            files: files)
    }

    private init(
        _ kernel: any KernelKeys, marker: KeySerial, buffer: consuming SecretBuffer, files: FileThreads
    ) {
        self.kernel = kernel
        file = PreSharedKeyFile(files)
        self.marker = marker
        self.buffer = buffer
        keyrings = KeyringSet()
    }

    /// Key type for `psk.file`; another one in tests, because not every kernel has `psk`.
    var fileKeyType = "psk"

    /// Reason why keyrings are not found by name, so that it is logged once; empty if they are, or if the settings name
    /// none: consumers give the serials of theirs.
    private var unlisted = ""

    /// Reason why keys of `psk.file`, or keyrings of the settings, are missing; empty if none are.
    var problem: String { unlisted.isEmpty ? file.problem : unlisted }

    /// Time for which `psk.file` has not answered, in nanoseconds; `nil` if it has.
    func age(_ now: UInt64) -> UInt64? { file.age(now) }

    /// A line for the log.
    struct Line {
        let text: String
        let isError: Bool
    }

    /// Links new keyrings, and adds the keys of `psk.file` to their keyring.
    mutating func refresh(settings: DaemonSettings, force: Bool, patience: UInt64) -> [Line] {
        var lines = file.leave(for: settings.psk, keyrings: &keyrings)
        keyrings.configure(settings.keyringNames + settings.profileKeyringNames)
        do {
            let change = try kernel.refresh(&keyrings)
            unlisted = ""
            lines += change.linked.map { Line(text: "keyring \($0) found; it will be searched", isError: false) }
            lines += change.gone.map { Line(text: "keyring \($0) was removed with its module", isError: false) }
            lines += change.failed.map {
                Line(text: "keyring \($0.name) cannot be searched: \($0.error.description)", isError: true)
            }
        } catch {
            let former = unlisted
            unlisted = settings.namesKeyrings ? "keyrings are not found by name: \(error.description)" : ""
            if unlisted != former, !unlisted.isEmpty { lines.append(Line(text: unlisted, isError: true)) }
        }
        return lines
            + file.refresh(
                settings: settings.psk, keyrings: &keyrings, type: fileKeyType, force: force, patience: patience)
    }

    /// A PSK that a client offers.
    struct Offer {
        let field: PreSharedKeyField
        let serial: KeySerial
    }

    /// Reads the PSKs that a client's request names, in its order. Unusable PSKs are skipped.
    ///
    /// - Throws: The reason for the first one if all are unusable.
    mutating func offers(
        for request: HandshakeRequest, scope: KeyringScope, into secrets: inout JobSecrets
    ) throws(HandshakeFailure) -> [Offer] {
        var offers: [Offer] = []
        var problem: HandshakeFailure?
        for serial in request.peerIdentities {
            do throws(HandshakeFailure) {
                offers.append(try offer(serial, of: request.keyring, scope, into: &secrets))
            } catch {
                problem = problem ?? error
            }
        }
        if offers.isEmpty, let problem { throw problem }
        return offers
    }

    private mutating func offer(
        _ serial: KeySerial, of keyring: KeySerial?, _ scope: KeyringScope, into secrets: inout JobSecrets
    ) throws(HandshakeFailure) -> Offer {
        defer { forget() }
        let kernel = kernel
        do throws(SystemError) {
            let (about, length) = try possessing(keyring, of: serial, scope) { (store) throws(SystemError) in
                (try kernel.describe(serial), try store.read(serial, limit: MessageLimit.preSharedKey))
            }
            guard about.description.count <= MessageLimit.identity else {
                throw .wrongSize(
                    of: "description of \(Key(serial).name)", bytes: about.description.count,
                    limit: MessageLimit.identity)
            }
            guard let place = secrets.append(length, of: buffer) else {
                throw .wrongSize(of: Key(serial).name, bytes: length, limit: MessageLimit.preSharedKey)
            }
            return Offer(field: PreSharedKeyField(identity: about.description, key: place), serial: serial)
        } catch {
            throw Self.failure(error)
        }
    }

    /// A PSK that was found for a peer.
    struct Found {
        let serial: KeySerial
        /// Length of the key at the start of `buffer`.
        let length: Int
    }

    /// Runs `body` while this thread possesses the consumer's keyring. Refuses keys that are not in scope.
    private mutating func possessing<Value>(
        _ keyring: KeySerial?, of serial: KeySerial, _ scope: KeyringScope,
        _ body: (inout KeyStore) throws(SystemError) -> Value
    ) throws(SystemError) -> Value {
        let own = keyrings.own(keyring, scope: scope), kernel = kernel
        return try kernel.possessing(own) { () throws(SystemError) in
            guard keyrings.reaches(serial, consumer: own, scope: scope) else {
                throw SystemError("use", 0, "\(Key(serial).name): it is in no keyring of this namespace or profile")
            }
            return try body(&self)
        }
    }

    /// Reads the payload of a key to the start of `buffer`.
    private mutating func read(_ serial: KeySerial, limit: Int) throws(SystemError) -> Int {
        exposed = max(exposed, limit)
        return try kernel.read(serial, into: &buffer, limit: limit)
    }

    /// Finds and reads the PSK whose complete description is `identity`, in the consumer's keyring and then in those of
    /// `scope`.
    ///
    /// - Returns: `nil` if there is none.
    mutating func find(
        _ identity: [UInt8], keyring: KeySerial?, scope: KeyringScope
    ) throws(HandshakeFailure) -> Found? {
        do throws(SystemError) {
            let own = keyrings.own(keyring, scope: scope), kernel = kernel
            return try kernel.possessing(own) { () throws(SystemError) in
                guard let serial = try kernel.findPSK(identity, consumer: own, scope: scope, in: &keyrings) else {
                    return nil
                }
                let length = try read(serial, limit: MessageLimit.preSharedKey)
                return Found(serial: serial, length: length)
            }
        } catch {
            throw Self.failure(error)
        }
    }

    /// Reads a certificate that a request names by serial.
    mutating func certificate(
        _ serial: KeySerial, of keyring: KeySerial?, scope: KeyringScope
    ) throws(HandshakeFailure) -> [UInt8] {
        defer { forget() }
        let length = try HandshakeFailure.of(
            .certificateUnreadable,
            try possessing(keyring, of: serial, scope) { (store) throws(SystemError) in
                try store.read(serial, limit: MessageLimit.certificate)
            })
        return buffer.withSpan(first: length) { span in span.indices.map { span[$0] } }
    }

    /// Reads the private key that a request names by serial.
    mutating func privateKey(
        _ serial: KeySerial, of keyring: KeySerial?, scope: KeyringScope, into secrets: inout JobSecrets
    ) throws(HandshakeFailure) -> SecretRange {
        defer { forget() }
        let length = try HandshakeFailure.of(
            .privateKeyUnreadable,
            try possessing(keyring, of: serial, scope) { (store) throws(SystemError) in
                try store.read(serial, limit: MessageLimit.privateKey)
            })
        guard let place = secrets.append(length, of: buffer) else {
            throw HandshakeFailure(.privateKeyUnreadable, "\(Key(serial).name) is too long")
        }
        return place
    }

    /// Wipes the payload that was read last.
    mutating func forget() {
        buffer.wipe(first: exposed)
        exposed = 0
        assert(buffer.isWiped)
    }

    private static func failure(_ error: SystemError) -> HandshakeFailure {
        HandshakeFailure(error.isOfGoneKey ? .pskGone : .pskUnreadable, error.description)
    }
}

/// The kernel's keyrings and keys.
package protocol KernelKeys: AnyObject {
    /// Creates the keyrings of this process, and the key whose serial represents a peer with a verified certificate.
    func establish() throws(SystemError) -> KeySerial
    /// Unlinks and returns the keyring that the last ACCEPT linked to the process keyring.
    func takeConsumerKeyring() throws(SystemError) -> KeySerial?
    /// Runs `body` while this thread possesses the keys in a keyring.
    func possessing<Value>(
        _ keyring: KeySerial?, _ body: () throws(SystemError) -> Value
    ) throws(SystemError) -> Value
    /// Links those keyrings of a set that exist now.
    func refresh(_ keyrings: inout KeyringSet) throws(SystemError) -> KeyringSet.Change
    /// The PSK whose complete description is `identity`; `nil` if there is none.
    func findPSK(
        _ identity: [UInt8], consumer: KeySerial?, scope: KeyringScope, in keyrings: inout KeyringSet
    ) throws(SystemError) -> KeySerial?
    func describe(_ serial: KeySerial) throws(SystemError) -> KeyDescription
    /// Reads the payload of a key to the start of `buffer`.
    ///
    /// - Returns: The length, 1 to `limit`.
    func read(_ serial: KeySerial, into buffer: inout SecretBuffer, limit: Int) throws(SystemError) -> Int
}

/// The keyrings of the running kernel.
final class LinuxKeys: KernelKeys {
    func establish() throws(SystemError) -> KeySerial {
        try Keyring.establish()
        return try RemoteIdentity().serial
    }

    func takeConsumerKeyring() throws(SystemError) -> KeySerial? { try ConsumerKeyring.take() }

    func possessing<Value>(
        _ keyring: KeySerial?, _ body: () throws(SystemError) -> Value
    ) throws(SystemError) -> Value {
        try ConsumerKeyring.possessing(keyring, body)
    }

    func refresh(_ keyrings: inout KeyringSet) throws(SystemError) -> KeyringSet.Change { try keyrings.refresh() }

    func findPSK(
        _ identity: [UInt8], consumer: KeySerial?, scope: KeyringScope, in keyrings: inout KeyringSet
    ) throws(SystemError) -> KeySerial? {
        try keyrings.findPSK(identity, consumer: consumer, scope: scope)
    }

    func describe(_ serial: KeySerial) throws(SystemError) -> KeyDescription { try Key(serial).describe() }

    func read(_ serial: KeySerial, into buffer: inout SecretBuffer, limit: Int) throws(SystemError) -> Int {
        try Key(serial).read(into: &buffer, limit: limit)
    }
}

/// The secrets of one job in memory that is wiped. They are collected while the job is prepared, and copied into its
/// message. One instance is used for all jobs in turn.
struct JobSecrets: ~Copyable {
    private var buffer: SecretBuffer
    private var used = 0

    init() throws(SystemError) {
        buffer = try SecretBuffer(
            capacity: MessageLimit.preSharedKeys * MessageLimit.preSharedKey + MessageLimit.privateKey)
    }

    /// Appends the first `count` bytes of `source`.
    ///
    /// - Returns: Their range in this buffer; `nil` if they do not fit.
    mutating func append(_ count: Int, of source: borrowing SecretBuffer) -> SecretRange? {
        guard count <= buffer.capacity - used else { return nil }
        buffer.copy(0..<count, of: source, to: used)
        defer { used += count }
        return SecretRange(used..<(used + count))
    }

    /// Copies all secrets of `job` into `message`, to the ranges that they have in `placed`, the encoded job.
    func copy(of job: HandshakeJob, into message: inout SecretBuffer, at placed: HandshakeJob) {
        for (here, there) in zip(job.preSharedKeys, placed.preSharedKeys) {
            message.copy(here.key.range, of: buffer, to: there.key.range.lowerBound)
        }
        message.copy(job.privateKey.range, of: buffer, to: placed.privateKey.range.lowerBound)
    }

    /// Copies one secret to `place` in `message`.
    func copy(_ secret: SecretRange, into message: inout SecretBuffer, at place: Range<Int>) {
        message.copy(secret.range, of: buffer, to: place.lowerBound)
    }

    /// Wipes the secrets of the last job.
    mutating func reset() {
        buffer.wipe(first: used)
        used = 0
    }
}
