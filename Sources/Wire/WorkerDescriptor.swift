/// Descriptors of a worker at its start.
package enum WorkerDescriptor {
    /// SOCK_SEQPACKET: `BrokerMessage` in, `WorkerMessage` out.
    package static let control: Int32 = 3
    /// SOCK_SEQPACKET: `KeyLookup` out, `KeyAnswer` in.
    package static let keys: Int32 = 4
    /// A memfd of a page: the job that the worker computes for, 0 for none.
    package static let step: Int32 = 5
}

/// Descriptor of the signer at its start.
package enum SignerDescriptor {
    /// SOCK_SEQPACKET: `SignerOrder` in, `SignerReport` out. The channels to workers come as orders.
    package static let control: Int32 = 3
}
