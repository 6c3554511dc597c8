/// A consumer's request to update the traffic keys of a connection (RFC 8446 §4.6.3). An extension of AF_TLSH; see
/// docs/af-tlsh.md.
package struct KeyUpdate: Sendable, Equatable {
    /// Directions to update, and whether the peer is asked to update too. Values of the kernel.
    package struct Steps: OptionSet, Sendable, Equatable {
        package let rawValue: UInt8

        package init(rawValue: UInt8) { self.rawValue = rawValue }

        /// RX: the peer's KeyUpdate has been read, and the next record is under its new key.
        package static let receive = Steps(rawValue: 1)
        /// TX: send a KeyUpdate, and use a new key after it.
        package static let send = Steps(rawValue: 2)
        /// With `send`: set update_requested in our KeyUpdate.
        package static let updateRequested = Steps(rawValue: 4)

        /// True if at least one direction is set, no unknown bit is, and update_requested comes with `send`.
        package var isValid: Bool {
            !isDisjoint(with: [.receive, .send]) && isSubset(of: [.receive, .send, .updateRequested])
                && (contains(.send) || !contains(.updateRequested))
        }
    }

    /// The reference that the kernel received at the handshake.
    package var session: SessionReference
    package var steps: Steps

    package init(session: SessionReference, steps: Steps) {
        self.session = session
        self.steps = steps
    }
}

/// Identifies a connection in a later key update. Opaque to the kernel; not valid in another daemon instance.
package struct SessionReference: Sendable, Hashable {
    package static let size = 16

    /// Random number of the daemon instance.
    package let instance: UInt64
    /// Job number of the handshake.
    package let session: UInt64

    package init(instance: UInt64, session: UInt64) {
        self.instance = instance
        self.session = session
    }

    /// `nil` unless there are exactly `size` bytes.
    package init?(_ bytes: [UInt8]) {
        guard bytes.count == Self.size else { return nil }
        func number(_ part: ArraySlice<UInt8>) -> UInt64 { part.reduce(0) { $0 << 8 | UInt64($1) } }
        instance = number(bytes[..<8])
        session = number(bytes[8...])
    }

    package var bytes: [UInt8] {
        [instance, session].flatMap { number in
            stride(from: 56, through: 0, by: -8).map { UInt8(truncatingIfNeeded: number >> UInt64($0)) }
        }
    }
}
