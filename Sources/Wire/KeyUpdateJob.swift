package import Handshake

/// The broker's order to a worker: replace keys of a connection whose secrets it keeps. The descriptor comes along.
package struct KeyUpdateJob: MessageFields, Sendable, Equatable {
    /// Unique for the broker's lifetime, among handshakes too.
    package var id: UInt64
    /// The job of the connection's handshake.
    package var session: UInt64
    package var steps: KeyUpdate.Steps
    /// CLOCK_MONOTONIC nanoseconds at which it is given up.
    package var deadline: UInt64
    /// Seconds for which the secrets are kept from then on, by the settings of now.
    package var keepFor: UInt32

    package init(
        id: UInt64 = 0, session: UInt64 = 0, steps: KeyUpdate.Steps = [], deadline: UInt64 = 0, keepFor: UInt32 = 0
    ) {
        self.id = id
        self.session = session
        self.steps = steps
        self.deadline = deadline
        self.keepFor = keepFor
    }

    package mutating func code(_ coder: inout MessageCoder, in bytes: inout MutableSpan<UInt8>) throws(WireError) {
        try coder.integer("job", &id, in: &bytes)
        try coder.integer("session", &session, in: &bytes)
        let start = coder.offset
        var raw = steps.rawValue
        try coder.integer("steps", &raw, in: &bytes)
        steps = KeyUpdate.Steps(rawValue: raw)
        try coder.require(steps.isValid, .unknownValue(field: "steps", value: UInt64(raw), offset: start))
        try coder.integer("deadline", &deadline, in: &bytes)
        try coder.integer("seconds to keep", &keepFor, in: &bytes)
    }
}
