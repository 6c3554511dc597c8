/// A worker's report that the peer of a handshake has sent its first byte.
package enum FirstByteReport {
    /// Age of the handshake at which workers send the report, in nanoseconds.
    package static let delay: UInt64 = 100_000_000
}
