/// A worker process, by the broker's own count.
package struct WorkerID: Sendable, Hashable {
    package let number: Int

    package init(_ number: Int) {
        self.number = number
    }

    /// The same in messages to the signer.
    package var channelNumber: UInt32 { UInt32(truncatingIfNeeded: number) }
}
