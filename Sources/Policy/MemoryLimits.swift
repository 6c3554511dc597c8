package import Wire

/// Maximum sizes in bytes of the data of workers and signer (RLIMIT_DATA), so that a process that is made to allocate
/// without end fails alone. Each allows what the settings allow strangers to make a process store, at the same time and
/// in one process; docs/decisions/0035 has the measurements.
package struct MemoryLimits: Sendable, Equatable {
    private let handshakes: UInt64
    private let handshakeBytes: UInt64
    private let profiles: UInt64

    private static let mebibyte: UInt64 = 1 << 20

    /// - Parameters:
    ///   - handshakes: concurrent handshakes, all of which one worker may have.
    ///   - handshakeBytes: bytes that a peer may send in one.
    ///   - profiles: number of profiles besides the default.
    package init(handshakes: Int, handshakeBytes: Int, profiles: Int) {
        self.handshakes = UInt64(clamping: handshakes)
        self.handshakeBytes = UInt64(clamping: handshakeBytes)
        self.profiles = UInt64(clamping: profiles)
    }

    /// Memory of workers that the peers of all handshakes in progress can use: 130 kB each after 96 kB were sent, with
    /// a quarter more.
    package var peers: UInt64 { handshakes * (32_768 + handshakeBytes * 4 / 3) }

    /// The keys that the requests in progress name.
    package var requestKeys: UInt64 { handshakes * 32_768 }

    /// The program, and two generations of trust stores and revocation lists: of lists of 5 MB in the default profile.
    /// Then what peers send.
    package var worker: UInt64 { (512 + 32 * profiles) * Self.mebibyte + peers }

    /// The program, two generations of 16 keys in a profile, and a key for each handshake. Token modules get a gigabyte
    /// more: they have needs of their own.
    package func signer(_ kind: SignerKind) -> UInt64 {
        (128 + 2 * profiles + (kind == .tokens ? 1024 : 0)) * Self.mebibyte + requestKeys
    }
}
