package import Handshake

/// A message of the broker to the signer; docs/broker-protocol.md. The first byte is the kind.
package enum SignerOrder: ChannelMessage {
    /// First of all. With `opensTokens` it stays able to use token modules, and what these need.
    case setUp(opensTokens: Bool, libraryLogLevel: UInt8)
    /// Load a role's keys; a descriptor for each part that has one, in their order.
    case load(SignerKeys)
    /// Forget a generation of a role's keys.
    case release(owner: CredentialsOwner, generation: UInt32)
    /// Hold the DER key that a request named, for the worker that runs its handshake.
    case hold(job: UInt64, worker: UInt32, key: SecretRange)
    /// Forget it.
    case forget(job: UInt64)
    /// Serve a worker; exactly one descriptor, the channel to it. A former one of the same worker is closed.
    case connect(worker: UInt32)
    /// Answer with `alive`.
    case ping

    package enum Kind: UInt8, CaseIterable, Sendable {
        case setUp = 1
        case load = 2
        case release = 3
        case hold = 4
        case forget = 5
        case connect = 6
        case ping = 7
    }

    package static let title = "order to the signer"

    package var kind: Kind {
        switch self {
        case .setUp: .setUp
        case .load: .load
        case .release: .release
        case .hold: .hold
        case .forget: .forget
        case .connect: .connect
        case .ping: .ping
        }
    }

    package init(_ kind: Kind) {
        self =
            switch kind {
            case .setUp: .setUp(opensTokens: false, libraryLogLevel: 0)
            case .load: .load(SignerKeys())
            case .release: .release(owner: CredentialsOwner(.standard, .client), generation: 0)
            case .hold: .hold(job: 0, worker: 0, key: SecretRange())
            case .forget: .forget(job: 0)
            case .connect: .connect(worker: 0)
            case .ping: .ping
            }
    }

    package mutating func codeFields(
        _ coder: inout MessageCoder, in bytes: inout MutableSpan<UInt8>
    ) throws(WireError) {
        switch self {
        case .setUp(var opensTokens, var level):
            try coder.flag("tokens", &opensTokens, in: &bytes)
            try coder.integer("library log level", &level, in: &bytes)
            self = .setUp(opensTokens: opensTokens, libraryLogLevel: level)
        case .load(var keys):
            try keys.code(&coder, in: &bytes)
            self = .load(keys)
        case .release(var owner, var generation):
            try owner.code(&coder, in: &bytes)
            try coder.integer("generation", &generation, in: &bytes)
            self = .release(owner: owner, generation: generation)
        case .hold(var job, var worker, var key):
            try coder.integer("job", &job, in: &bytes)
            try coder.integer("worker", &worker, in: &bytes)
            try coder.secret("private key", &key, limit: MessageLimit.privateKey, in: &bytes)
            self = .hold(job: job, worker: worker, key: key)
        case .forget(var job):
            try coder.integer("job", &job, in: &bytes)
            self = .forget(job: job)
        case .connect(var worker):
            try coder.integer("worker", &worker, in: &bytes)
            self = .connect(worker: worker)
        case .ping: break
        }
    }
}
