package import Handshake

/// What the broker sends a worker; docs/broker-protocol.md. The first byte is the kind.
package enum BrokerMessage: SecretMessage {
    /// First of all, and again when log levels change.
    case setUp(WorkerSetUp)
    /// Replaces one role's credentials; the files travel as descriptors, in the order of `CredentialKind`'s raw values.
    case credentials(RoleCredentials)
    /// Forget a profile's credentials; handshakes that use them go on.
    case withdraw(profile: ProfileNumber)
    /// Replaces all session tags.
    case tags(SessionTags)
    /// Run a handshake; exactly one descriptor, the socket.
    case handshake(HandshakeJob)
    /// The channel to the signer, exactly one descriptor; it takes the place of the former.
    case signer
    /// Replace the keys of a connection whose secrets this worker keeps; exactly one descriptor, the socket.
    case keyUpdate(KeyUpdateJob)
    /// Give a handshake up: send its alert, then report it with this reason.
    case cancel(job: UInt64, reason: CancelReason)

    private enum Kind: UInt8 {
        case setUp = 1
        case credentials = 2
        case handshake = 3
        case cancel = 4
        case withdraw = 5
        case tags = 6
        case signer = 7
        case keyUpdate = 8
    }

    /// Writes the message.
    ///
    /// - Returns: its length, and for a handshake the job with the places where the caller must copy the secrets.
    package func encode(to bytes: inout MutableSpan<UInt8>) throws(WireError) -> (length: Int, places: HandshakeJob?) {
        var writer = ByteWriter("broker message")
        var placed: HandshakeJob?
        switch self {
        case .setUp(let setUp):
            try writer.unsigned8(Kind.setUp.rawValue, to: &bytes)
            try setUp.encode(with: &writer, to: &bytes)
        case .credentials(let credentials):
            try writer.unsigned8(Kind.credentials.rawValue, to: &bytes)
            try credentials.encode(with: &writer, to: &bytes)
        case .withdraw(let profile):
            try writer.unsigned8(Kind.withdraw.rawValue, to: &bytes)
            try writer.unsigned16(profile.rawValue, to: &bytes)
        case .tags(let tags):
            try writer.unsigned8(Kind.tags.rawValue, to: &bytes)
            try tags.encode(with: &writer, to: &bytes)
        case .handshake(let job):
            try writer.unsigned8(Kind.handshake.rawValue, to: &bytes)
            placed = try job.encode(with: &writer, to: &bytes)
        case .signer: try writer.unsigned8(Kind.signer.rawValue, to: &bytes)
        case .keyUpdate(let job):
            try writer.unsigned8(Kind.keyUpdate.rawValue, to: &bytes)
            try job.encode(with: &writer, to: &bytes)
        case .cancel(let job, let reason):
            try writer.unsigned8(Kind.cancel.rawValue, to: &bytes)
            try writer.unsigned64(job, to: &bytes)
            try writer.unsigned8(reason.rawValue, to: &bytes)
        }
        return (writer.offset, placed)
    }

    /// Reads a message; the whole span must be one.
    package init(from bytes: Span<UInt8>) throws(WireError) {
        var reader = ByteReader(to: bytes.count)
        let kind: Kind = try reader.enumeration("kind of broker message", in: bytes)
        switch kind {
        case .setUp: self = .setUp(try WorkerSetUp(with: &reader, from: bytes))
        case .credentials: self = .credentials(try RoleCredentials(with: &reader, from: bytes))
        case .withdraw: self = .withdraw(profile: ProfileNumber(try reader.unsigned16("profile", in: bytes)))
        case .tags: self = .tags(try SessionTags(with: &reader, from: bytes))
        case .handshake: self = .handshake(try HandshakeJob(with: &reader, from: bytes))
        case .signer: self = .signer
        case .keyUpdate: self = .keyUpdate(try KeyUpdateJob(with: &reader, from: bytes))
        case .cancel:
            self = .cancel(
                job: try reader.unsigned64("job", in: bytes), reason: try reader.enumeration("reason", in: bytes))
        }
        try reader.finish("broker message")
    }

    /// How many descriptors must come with it.
    package var descriptorCount: Int {
        switch self {
        case .setUp, .cancel, .withdraw, .tags: 0
        case .handshake, .signer, .keyUpdate: 1
        case .credentials(let credentials): credentials.kinds.count
        }
    }
}

/// Why a handshake is given up from outside.
package enum CancelReason: UInt8, Sendable, Equatable, CaseIterable {
    /// The daemon stops.
    case shuttingDown = 1
    /// Its peer has said nothing, and others need the place.
    case overloaded = 2

    package var failure: HandshakeFailure {
        switch self {
        case .shuttingDown: HandshakeFailure(.shuttingDown)
        case .overloaded: HandshakeFailure(.overloaded, "the peer had sent nothing, and others needed the place")
        }
    }
}

/// What a worker must know before its first handshake.
package struct WorkerSetUp: Sendable, Equatable {
    package var kernelTLS: KernelTLSCapabilities
    /// `-l`: 0 one line per handshake, 1 each step, 3 the records' types and sizes.
    package var logLevel: UInt8
    /// `[debug] tls`: GnuTLS's own log level, 0 to 9.
    package var libraryLogLevel: UInt8

    package init(kernelTLS: KernelTLSCapabilities, logLevel: UInt8, libraryLogLevel: UInt8) {
        self.kernelTLS = kernelTLS
        self.logLevel = logLevel
        self.libraryLogLevel = libraryLogLevel
    }

    func encode(with writer: inout ByteWriter, to bytes: inout MutableSpan<UInt8>) throws(WireError) {
        try writer.unsigned8(UInt8(kernelTLS.ciphers.count), to: &bytes)
        for cipher in KernelCipher.allCases where kernelTLS.ciphers.contains(cipher) {
            try writer.unsigned16(cipher.rawValue, to: &bytes)
        }
        try writer.unsigned8(kernelTLS.limitsTransmitPayload ? 1 : 0, to: &bytes)
        try writer.unsigned8(kernelTLS.rekeys ? 1 : 0, to: &bytes)
        try writer.unsigned8(logLevel, to: &bytes)
        try writer.unsigned8(libraryLogLevel, to: &bytes)
    }

    init(with reader: inout ByteReader, from bytes: Span<UInt8>) throws(WireError) {
        var ciphers = Set<KernelCipher>()
        for _ in 0..<(try reader.unsigned8("number of ciphers", in: bytes)) {
            let start = reader.offset
            let raw = try reader.unsigned16("cipher", in: bytes)
            guard let cipher = KernelCipher(rawValue: raw) else {
                throw .unknownValue(field: "cipher", value: UInt64(raw), offset: start)
            }
            guard ciphers.insert(cipher).inserted else { throw .duplicate(field: "cipher", offset: start) }
        }
        kernelTLS = KernelTLSCapabilities(
            ciphers: ciphers, limitsTransmitPayload: try reader.boolean("payload limit", in: bytes),
            rekeys: try reader.boolean("rekeying", in: bytes))
        logLevel = try reader.unsigned8("log level", in: bytes)
        libraryLogLevel = try reader.unsigned8("library log level", in: bytes)
    }
}

/// The files that make a role's credentials.
package enum CredentialKind: UInt8, Sendable, Equatable, CaseIterable, Comparable {
    case trustStore = 1
    case revocationList = 2
    case certificate = 3
    case privateKey = 4
    case postQuantumCertificate = 5
    case postQuantumPrivateKey = 6

    package static func < (left: CredentialKind, right: CredentialKind) -> Bool { left.rawValue < right.rawValue }
}

/// One file of a role's credentials: a sealed copy travels as descriptor, the path is for messages. Of private keys the
/// copy holds the public half in PEM: the signer has them.
package struct CredentialFile: Sendable, Equatable {
    package var kind: CredentialKind
    /// Which pair of certificate and key it belongs to, where there are several: 0 for the one without a name, then in
    /// the order in which they are tried. 0 for what is no pair.
    package var pair: UInt8
    package var path: String

    package init(kind: CredentialKind, pair: UInt8 = 0, path: String) {
        self.kind = kind
        self.pair = pair
        self.path = path
    }

    /// Their order in a message.
    package static func precedes(_ left: CredentialFile, _ right: CredentialFile) -> Bool {
        (left.kind, left.pair) < (right.kind, right.pair)
    }
}

/// A role's credentials, whole: what is not named is not used.
package struct RoleCredentials: Sendable, Equatable {
    package var profile: ProfileNumber
    package var role: Role
    /// Grows with each change of this profile's role; the answer names it.
    package var generation: UInt32
    /// In rising order of kind and pair, each at most once.
    package var files: [CredentialFile]
    /// What is asked of the peers' certificates.
    package var rules: PeerRules
    /// What may be negotiated; here it is checked once, and each handshake brings it again.
    package var limits: NegotiationLimits

    package init(
        profile: ProfileNumber = .standard, role: Role, generation: UInt32, files: [CredentialFile],
        rules: PeerRules = PeerRules(), limits: NegotiationLimits = NegotiationLimits()
    ) {
        self.profile = profile
        self.role = role
        self.generation = generation
        self.files = files
        self.rules = rules
        self.limits = limits
    }

    package var kinds: [CredentialKind] { files.map(\.kind) }
    package var owner: CredentialsOwner { CredentialsOwner(profile, role) }

    func encode(with writer: inout ByteWriter, to bytes: inout MutableSpan<UInt8>) throws(WireError) {
        try writer.unsigned16(profile.rawValue, to: &bytes)
        try writer.unsigned8(role.rawValue, to: &bytes)
        try writer.unsigned32(generation, to: &bytes)
        try writer.unsigned8(UInt8(files.count), to: &bytes)
        for file in files {
            try writer.unsigned8(file.kind.rawValue, to: &bytes)
            try writer.unsigned8(file.pair, to: &bytes)
            try writer.prefixed(file.path, "path", limit: MessageLimit.path, to: &bytes)
        }
        try rules.encode(with: &writer, to: &bytes)
        try limits.encode(with: &writer, to: &bytes)
    }

    init(with reader: inout ByteReader, from bytes: Span<UInt8>) throws(WireError) {
        profile = ProfileNumber(try reader.unsigned16("profile", in: bytes))
        role = try reader.enumeration("role", in: bytes)
        generation = try reader.unsigned32("generation", in: bytes)
        files = []
        for _ in 0..<(try reader.unsigned8("number of files", in: bytes)) {
            let start = reader.offset
            let file = CredentialFile(
                kind: try reader.enumeration("kind of file", in: bytes),
                pair: try reader.unsigned8("pair", in: bytes),
                path: try reader.prefixedText("path", limit: MessageLimit.path, in: bytes))
            if let last = files.last, !CredentialFile.precedes(last, file) {
                throw .duplicate(field: "kind of file", offset: start)
            }
            files.append(file)
        }
        rules = try PeerRules(with: &reader, from: bytes)
        limits = try NegotiationLimits(with: &reader, from: bytes)
    }
}
