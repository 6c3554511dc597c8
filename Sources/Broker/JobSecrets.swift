internal import System
internal import Wire

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
