package import Handshake

/// The broker's order to a worker: replace keys of a connection whose secrets it keeps. The descriptor comes along.
package struct KeyUpdateJob: Sendable, Equatable {
    /// Unique for the broker's lifetime, among handshakes too.
    package var id: UInt64
    /// The job of the connection's handshake.
    package var session: UInt64
    package var steps: KeyUpdate.Steps
    /// CLOCK_MONOTONIC nanoseconds at which it is given up.
    package var deadline: UInt64
    /// Seconds for which the secrets are kept from then on, by the settings of now.
    package var keepFor: UInt32

    package init(id: UInt64, session: UInt64, steps: KeyUpdate.Steps, deadline: UInt64, keepFor: UInt32) {
        self.id = id
        self.session = session
        self.steps = steps
        self.deadline = deadline
        self.keepFor = keepFor
    }

    func encode(with writer: inout ByteWriter, to bytes: inout MutableSpan<UInt8>) throws(WireError) {
        try writer.unsigned64(id, to: &bytes)
        try writer.unsigned64(session, to: &bytes)
        try writer.unsigned8(steps.rawValue, to: &bytes)
        try writer.unsigned64(deadline, to: &bytes)
        try writer.unsigned32(keepFor, to: &bytes)
    }

    init(with reader: inout ByteReader, from bytes: Span<UInt8>) throws(WireError) {
        id = try reader.unsigned64("job", in: bytes)
        session = try reader.unsigned64("session", in: bytes)
        let start = reader.offset
        steps = KeyUpdate.Steps(rawValue: try reader.unsigned8("steps", in: bytes))
        guard steps.isValid else {
            throw .unknownValue(field: "steps", value: UInt64(steps.rawValue), offset: start)
        }
        deadline = try reader.unsigned64("deadline", in: bytes)
        keepFor = try reader.unsigned32("seconds to keep", in: bytes)
    }
}
