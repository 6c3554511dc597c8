package import Handshake

/// The signers. A key is in one of them.
package enum SignerKind: UInt8, Sendable, Equatable, CaseIterable {
    /// Has the keys that are in files, and those that requests name.
    case files = 0
    /// Has all keys of a role if one of them, or a certificate, is on a token. It stays able to use token modules, and
    /// what these need.
    case tokens = 1

    /// The name of the process in the log.
    package var name: String {
        switch self {
        case .files: "the signer"
        case .tokens: "the signer for tokens"
        }
    }
}

/// A message of the broker to a signer; docs/broker-protocol.md. The first byte is the kind.
package enum SignerOrder: ChannelMessage {
    /// First of all. The memory limit is the maximum size of the data of the process.
    case setUp(SignerKind, libraryLogLevel: UInt8, memoryLimit: UInt64)
    /// Load a role's keys; a descriptor for each part that has one, in their order.
    case load(SignerKeys)
    /// Forget a generation of a role's keys.
    case release(owner: CredentialsOwner, generation: UInt32)
    /// Sign once for a handshake; it takes the place of a former permit for the same.
    case permit(SigningPermit)
    /// Forget a handshake's permit, and the key that came with it.
    case forget(job: UInt64)
    /// Serve a worker; exactly one descriptor, the channel to it. A former one of the same worker is closed.
    case connect(worker: UInt32)
    /// Answer with `alive`.
    case ping

    package enum Kind: UInt8, CaseIterable, Sendable {
        case setUp = 1
        case load = 2
        case release = 3
        case permit = 4
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
        case .permit: .permit
        case .forget: .forget
        case .connect: .connect
        case .ping: .ping
        }
    }

    package init(_ kind: Kind) {
        self =
            switch kind {
            case .setUp: .setUp(.files, libraryLogLevel: 0, memoryLimit: .max)
            case .load: .load(SignerKeys())
            case .release: .release(owner: CredentialsOwner(.standard, .client), generation: 0)
            case .permit: .permit(SigningPermit())
            case .forget: .forget(job: 0)
            case .connect: .connect(worker: 0)
            case .ping: .ping
            }
    }

    package mutating func codeFields(
        _ coder: inout MessageCoder, in bytes: inout MutableSpan<UInt8>
    ) throws(WireError) {
        switch self {
        case .setUp(var signer, var level, var memoryLimit):
            try coder.choice("signer", &signer, in: &bytes)
            try coder.integer("library log level", &level, in: &bytes)
            try coder.integer("memory limit", &memoryLimit, in: &bytes)
            self = .setUp(signer, libraryLogLevel: level, memoryLimit: memoryLimit)
        case .load(var keys):
            try keys.code(&coder, in: &bytes)
            self = .load(keys)
        case .release(var owner, var generation):
            try owner.code(&coder, in: &bytes)
            try coder.integer("generation", &generation, in: &bytes)
            self = .release(owner: owner, generation: generation)
        case .permit(var permit):
            try permit.code(&coder, in: &bytes)
            self = .permit(permit)
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

/// A message of the signer to the broker; docs/broker-protocol.md.
package enum SignerReport: ChannelMessage {
    /// The answer to `setUp`.
    case ready(Confinement)
    /// The answer to `load`.
    case loaded(SignerVerdict)
    /// The answer to `ping`.
    case alive
    /// A worker asked in a way that the protocol does not permit, or without a permit; its channel is closed.
    case misbehaved(worker: UInt32, text: String)
    /// A worker has got a signature, for the log; the key and the scheme.
    case signed(job: UInt64, worker: UInt32, text: String)

    package enum Kind: UInt8, CaseIterable, Sendable {
        case ready = 65
        case loaded = 66
        case alive = 67
        case misbehaved = 68
        case signed = 69
    }

    package static let title = "signer's report"

    package var kind: Kind {
        switch self {
        case .ready: .ready
        case .loaded: .loaded
        case .alive: .alive
        case .misbehaved: .misbehaved
        case .signed: .signed
        }
    }

    package init(_ kind: Kind) {
        self =
            switch kind {
            case .ready: .ready(Confinement())
            case .loaded: .loaded(SignerVerdict())
            case .alive: .alive
            case .misbehaved: .misbehaved(worker: 0, text: "")
            case .signed: .signed(job: 0, worker: 0, text: "")
            }
    }

    package mutating func codeFields(
        _ coder: inout MessageCoder, in bytes: inout MutableSpan<UInt8>
    ) throws(WireError) {
        switch self {
        case .ready(var confinement):
            try confinement.code(&coder, in: &bytes)
            self = .ready(confinement)
        case .loaded(var verdict):
            try verdict.code(&coder, in: &bytes)
            self = .loaded(verdict)
        case .alive: break
        case .misbehaved(var worker, var text):
            try coder.integer("worker", &worker, in: &bytes)
            try coder.text("text", &text, limit: MessageLimit.text, in: &bytes)
            self = .misbehaved(worker: worker, text: text)
        case .signed(var job, var worker, var text):
            try coder.integer("job", &job, in: &bytes)
            try coder.integer("worker", &worker, in: &bytes)
            try coder.text("text", &text, limit: MessageLimit.text, in: &bytes)
            self = .signed(job: job, worker: worker, text: text)
        }
    }
}

/// The permission of a worker to have one signature made for one handshake, and the key that came with its request
/// described once.
package struct SigningPermit: MessageFields, Sendable, Equatable {
    package var job: UInt64
    package var worker: UInt32
    /// The role in which the handshake signs, and whose keys it may use, in every generation.
    package var owner: CredentialsOwner
    /// The key of the request is to be used, and none of the role.
    package var isForRequestKey: Bool
    /// That key in DER; empty if it can no longer be had.
    package var key: SecretRange
    /// The signature is to be reported.
    package var isReported: Bool

    package init(
        job: UInt64 = 0, worker: UInt32 = 0, owner: CredentialsOwner = CredentialsOwner(.standard, .client),
        isForRequestKey: Bool = false, key: SecretRange = SecretRange(), isReported: Bool = false
    ) {
        self.job = job
        self.worker = worker
        self.owner = owner
        self.isForRequestKey = isForRequestKey
        self.key = key
        self.isReported = isReported
    }

    package mutating func code(_ coder: inout MessageCoder, in bytes: inout MutableSpan<UInt8>) throws(WireError) {
        try coder.integer("job", &job, in: &bytes)
        try coder.integer("worker", &worker, in: &bytes)
        try owner.code(&coder, in: &bytes)
        try coder.flag("for the request's key", &isForRequestKey, in: &bytes)
        try coder.secret("private key", &key, limit: MessageLimit.privateKey, in: &bytes)
        try coder.flag("reported", &isReported, in: &bytes)
    }
}

/// The answer to `load`: with a problem, none of the parts can be used.
package struct SignerVerdict: MessageFields, Sendable, Equatable {
    package var owner: CredentialsOwner
    package var generation: UInt32
    /// The problem, with file or URL and the remedy; empty for none.
    package var problem: String
    /// True if the problem may end without a change of files and settings, as with a token that is not plugged in. A
    /// wrong PIN is not: tokens lock themselves after a few.
    package var isPassing: Bool
    /// For each part PEM that is no secret, in their order: of a key its public half, of a certificate its chain. Empty
    /// with a problem.
    package var parts: [[UInt8]]

    package init(
        owner: CredentialsOwner = CredentialsOwner(.standard, .client), generation: UInt32 = 0, problem: String = "",
        isPassing: Bool = false, parts: [[UInt8]] = []
    ) {
        self.owner = owner
        self.generation = generation
        self.problem = problem
        self.isPassing = isPassing
        self.parts = parts
    }

    package mutating func code(_ coder: inout MessageCoder, in bytes: inout MutableSpan<UInt8>) throws(WireError) {
        try owner.code(&coder, in: &bytes)
        try coder.integer("generation", &generation, in: &bytes)
        try coder.text("problem", &problem, limit: MessageLimit.text, in: &bytes)
        try coder.flag("passing", &isPassing, in: &bytes)
        try coder.list("number of parts", &parts, limit: MessageLimit.signerParts, blank: [], in: &bytes) {
            (coder, part, bytes) throws(WireError) in
            try coder.bytes("part", &part, limit: MessageLimit.certificate, in: &bytes)
        }
    }
}

/// One private key of a role, or a certificate that is on a token.
package struct SignerPart: MessageFields, Sendable, Equatable {
    package enum Source: Sendable, Equatable {
        /// A PEM file; its sealed copy travels as descriptor.
        case file
        /// A URL that GnuTLS opens, without `pin-source`. With `hasPIN` a sealed copy of the PIN's file travels as
        /// descriptor.
        case url(String, hasPIN: Bool)
    }

    package var kind: CredentialKind
    /// The pair of certificate and key.
    package var pair: UInt8
    /// The file's path, or of the URL what is no secret; for messages.
    package var place: String
    package var source: Source

    package init(kind: CredentialKind, pair: UInt8 = 0, place: String, source: Source) {
        self.kind = kind
        self.pair = pair
        self.place = place
        self.source = source
    }

    package var bringsDescriptor: Bool {
        switch source {
        case .file: true
        case .url(_, let hasPIN): hasPIN
        }
    }

    package var isKey: Bool { kind == .privateKey || kind == .postQuantumPrivateKey }

    package mutating func code(_ coder: inout MessageCoder, in bytes: inout MutableSpan<UInt8>) throws(WireError) {
        try coder.choice("kind of part", &kind, in: &bytes)
        try coder.integer("pair", &pair, in: &bytes)
        try coder.text("path", &place, limit: MessageLimit.path, in: &bytes)
        var isURL = source != .file
        try coder.flag("source", &isURL, in: &bytes)
        if coder.isReading { source = isURL ? .url("", hasPIN: false) : .file }
        guard case .url(var url, var hasPIN) = source else { return }
        try coder.text("URL", &url, limit: MessageLimit.path, in: &bytes)
        try coder.flag("PIN", &hasPIN, in: &bytes)
        source = .url(url, hasPIN: hasPIN)
    }
}

/// All that the signer is to open for one role.
package struct SignerKeys: MessageFields, Sendable, Equatable {
    package var owner: CredentialsOwner
    package var generation: UInt32
    /// In rising order of kind and pair, each once.
    package var parts: [SignerPart]

    package init(
        owner: CredentialsOwner = CredentialsOwner(.standard, .client), generation: UInt32 = 0, parts: [SignerPart] = []
    ) {
        self.owner = owner
        self.generation = generation
        self.parts = parts
    }

    package mutating func code(_ coder: inout MessageCoder, in bytes: inout MutableSpan<UInt8>) throws(WireError) {
        try owner.code(&coder, in: &bytes)
        try coder.integer("generation", &generation, in: &bytes)
        var last: SignerPart?
        let blank = SignerPart(kind: .trustStore, place: "", source: .file)
        try coder.list("number of parts", &parts, limit: MessageLimit.signerParts, blank: blank, in: &bytes) {
            (coder, part, bytes) throws(WireError) in
            let start = coder.offset
            try part.code(&coder, in: &bytes)
            let isInOrder = last.map { ($0.kind, $0.pair) < (part.kind, part.pair) } ?? true
            try coder.require(isInOrder, .duplicate(field: "kind of part", offset: start))
            last = part
        }
    }
}

// Permit tables of the broker and the signer; docs/broker-protocol.md.

extension SignerOrder {
    package typealias Opposite = SignerReport
    package typealias State = ConfinedState
    package static let firstState = State.beforeSetUp

    package static let permits: [Permit<SignerOrder>] = [
        Permit(.setUp, in: [.beforeSetUp], then: .serving, limit: MessageLimit.short, .once),
        Permit(.load, in: [.serving], descriptors: .onePerFile(limit: MessageLimit.signerParts)),
        Permit(.release, in: [.serving], limit: MessageLimit.short),
        Permit(.permit, in: [.serving]),
        Permit(.forget, in: [.serving], limit: MessageLimit.short),
        Permit(.connect, in: [.serving], descriptors: .exactly(1), limit: MessageLimit.short),
        Permit(.ping, in: [.serving], limit: MessageLimit.short),
    ]

    package var reference: MessageReference {
        if case .load(let keys) = self { .credentials(keys.owner, generation: keys.generation) } else { .none }
    }

    package var fileCount: Int {
        if case .load(let keys) = self { keys.parts.filter(\.bringsDescriptor).count } else { 0 }
    }
}

extension SignerReport {
    package typealias Opposite = SignerOrder
    package typealias State = ProcessState
    package static let firstState = State.starting

    package static let permits: [Permit<SignerReport>] = [
        Permit(.ready, in: [.starting], then: .ready, .once),
        Permit(.loaded, in: [.ready], .answer([.load], inOrder: true)),
        Permit(.alive, in: [.ready], limit: MessageLimit.short, .answer([.ping], inOrder: true)),
        Permit(.misbehaved, in: [.ready]),
        Permit(.signed, in: [.ready]),
    ]

    package var reference: MessageReference {
        if case .loaded(let verdict) = self {
            .credentials(verdict.owner, generation: verdict.generation)
        } else {
            .none
        }
    }
}
