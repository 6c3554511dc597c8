/// Where a worker finds its channels when it starts.
package enum WorkerDescriptor {
    /// SOCK_SEQPACKET: `BrokerMessage` in, `WorkerMessage` out.
    package static let control: Int32 = 3
    /// SOCK_SEQPACKET: `KeyLookup` out, `KeyAnswer` in.
    package static let keys: Int32 = 4
}
