package import Handshake

/// One private key of a role, or a certificate that is on a token.
package struct SignerPart: Sendable, Equatable {
    package enum Source: Sendable, Equatable {
        /// A PEM file; its sealed copy travels as descriptor.
        case file
        /// A URL that GnuTLS opens, without `pin-source`. With `hasPIN` a sealed copy of the PIN's file travels as
        /// descriptor.
        case url(String, hasPIN: Bool)
    }

    package var kind: CredentialKind
    /// Which pair of certificate and key.
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
}

/// All that the signer is to open for one role.
package struct SignerKeys: Sendable, Equatable {
    package var owner: CredentialsOwner
    package var generation: UInt32
    /// In rising order of kind and pair, each once.
    package var parts: [SignerPart]

    package init(owner: CredentialsOwner, generation: UInt32, parts: [SignerPart]) {
        self.owner = owner
        self.generation = generation
        self.parts = parts
    }

    func encode(with writer: inout ByteWriter, to bytes: inout MutableSpan<UInt8>) throws(WireError) {
        try writer.credentialsOwner(owner, to: &bytes)
        try writer.unsigned32(generation, to: &bytes)
        guard parts.count <= MessageLimit.signerParts else {
            throw .outOfRange(field: "number of parts", offset: writer.offset)
        }
        try writer.unsigned8(UInt8(parts.count), to: &bytes)
        for part in parts {
            try writer.unsigned8(part.kind.rawValue, to: &bytes)
            try writer.unsigned8(part.pair, to: &bytes)
            try writer.prefixed(part.place, "path", limit: MessageLimit.path, to: &bytes)
            switch part.source {
            case .file: try writer.unsigned8(0, to: &bytes)
            case .url(let url, let hasPIN):
                try writer.unsigned8(1, to: &bytes)
                try writer.prefixed(url, "URL", limit: MessageLimit.path, to: &bytes)
                try writer.unsigned8(hasPIN ? 1 : 0, to: &bytes)
            }
        }
    }

    init(with reader: inout ByteReader, from bytes: Span<UInt8>) throws(WireError) {
        owner = try reader.credentialsOwner(in: bytes)
        generation = try reader.unsigned32("generation", in: bytes)
        parts = []
        let start = reader.offset
        let count = try reader.unsigned8("number of parts", in: bytes)
        guard count <= MessageLimit.signerParts else { throw .outOfRange(field: "number of parts", offset: start) }
        for _ in 0..<count {
            let start = reader.offset
            let kind: CredentialKind = try reader.enumeration("kind of part", in: bytes)
            let pair = try reader.unsigned8("pair", in: bytes)
            let place = try reader.prefixedText("path", limit: MessageLimit.path, in: bytes)
            let source: SignerPart.Source =
                if try reader.boolean("source", in: bytes) {
                    .url(
                        try reader.prefixedText("URL", limit: MessageLimit.path, in: bytes),
                        hasPIN: try reader.boolean("PIN", in: bytes))
                } else {
                    .file
                }
            if let last = parts.last, (last.kind, last.pair) >= (kind, pair) {
                throw .duplicate(field: "kind of part", offset: start)
            }
            parts.append(SignerPart(kind: kind, pair: pair, place: place, source: source))
        }
    }
}
