package import Handshake

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
