internal import Handshake

extension HandshakeResult {
    private enum Part: UInt8 {
        case absent = 0
        case present = 1
    }

    private static let mostRemarks = 4
    private static let success: UInt8 = 1
    private static let failure: UInt8 = 2

    func encode(with writer: inout ByteWriter, to bytes: inout MutableSpan<UInt8>) throws(WireError) {
        let limit = MessageLimit.text
        switch outcome {
        case .success(let session):
            try writer.unsigned8(Self.success, to: &bytes)
            try writer.prefixed(session.cipherSuite, "cipher suite", limit: limit, to: &bytes)
            try writer.prefixed(session.group, "group", limit: limit, to: &bytes)
            try writer.prefixed(session.applicationProtocol, "ALPN", limit: limit, to: &bytes)
            try writer.unsigned8(session.peerAuthenticated ? 1 : 0, to: &bytes)
        case .failure(let failure):
            try writer.unsigned8(Self.failure, to: &bytes)
            try writer.unsigned16(failure.reason.rawValue, to: &bytes)
            try writer.prefixed(failure.detail, "detail", limit: limit, to: &bytes)
        }
        try writer.unsigned8((peerCertificate == nil ? Part.absent : .present).rawValue, to: &bytes)
        if let certificate = peerCertificate { try certificate.encode(with: &writer, to: &bytes) }
        try writer.unsigned8((pskIdentity == nil ? Part.absent : .present).rawValue, to: &bytes)
        if let identity = pskIdentity { try writer.prefixed(identity, "PSK identity", limit: limit, to: &bytes) }
        for alert in [alertSent, alertReceived] {
            try writer.unsigned8((alert == nil ? Part.absent : .present).rawValue, to: &bytes)
            if let alert { try writer.unsigned8(alert.rawValue, to: &bytes) }
        }
        try writer.count(tags.count, "tags", limit: SessionTags.mostTags, to: &bytes)
        for tag in tags { try writer.prefixed(tag, "tag", limit: SessionTags.longestName, to: &bytes) }
        try writer.count(remarks.count, "remarks", limit: Self.mostRemarks, to: &bytes)
        for remark in remarks { try writer.prefixed(remark, "remark", limit: limit, to: &bytes) }
        for duration in [elapsed, processorTime] {
            let (seconds, attoseconds) = duration.components
            try writer.unsigned64(UInt64(clamping: seconds * 1_000_000 + attoseconds / 1_000_000_000_000), to: &bytes)
        }
    }

    init(with reader: inout ByteReader, from bytes: Span<UInt8>) throws(WireError) {
        let outcome = try Self.outcome(with: &reader, from: bytes)
        let limit = MessageLimit.text
        var certificate: CertificateDescription?
        if try Self.isPresent("certificate", with: &reader, from: bytes) {
            certificate = try CertificateDescription(with: &reader, from: bytes)
        }
        var identity: String?
        if try Self.isPresent("PSK identity", with: &reader, from: bytes) {
            identity = try reader.prefixedText("PSK identity", limit: limit, in: bytes)
        }
        let sent = try Self.alert("alert sent", with: &reader, from: bytes)
        let received = try Self.alert("alert received", with: &reader, from: bytes)
        var tags: [String] = []
        for _ in 0..<(try reader.count("tags", limit: SessionTags.mostTags, in: bytes)) {
            tags.append(try reader.prefixedText("tag", limit: SessionTags.longestName, in: bytes))
        }
        var remarks: [String] = []
        for _ in 0..<(try reader.count("remarks", limit: Self.mostRemarks, in: bytes)) {
            remarks.append(try reader.prefixedText("remark", limit: limit, in: bytes))
        }
        self.init(
            outcome: outcome, peerCertificate: certificate, pskIdentity: identity, alertSent: sent,
            alertReceived: received, tags: tags, remarks: remarks,
            elapsed: try Self.duration("elapsed", with: &reader, from: bytes),
            processorTime: try Self.duration("processor time", with: &reader, from: bytes))
    }

    private static func duration(
        _ field: String, with reader: inout ByteReader, from bytes: Span<UInt8>
    ) throws(WireError) -> Duration {
        let start = reader.offset
        let microseconds = try reader.unsigned64(field, in: bytes)
        guard let count = Int64(exactly: microseconds) else { throw .outOfRange(field: field, offset: start) }
        return .microseconds(count)
    }

    private static func outcome(
        with reader: inout ByteReader, from bytes: Span<UInt8>
    ) throws(WireError) -> Outcome {
        let limit = MessageLimit.text
        var start = reader.offset
        let kind = try reader.unsigned8("outcome", in: bytes)
        if kind == success {
            return .success(
                NegotiatedSession(
                    cipherSuite: try reader.prefixedText("cipher suite", limit: limit, in: bytes),
                    group: try reader.prefixedText("group", limit: limit, in: bytes),
                    applicationProtocol: try reader.prefixedText("ALPN", limit: limit, in: bytes),
                    peerAuthenticated: try reader.boolean("peer authenticated", in: bytes)))
        }
        guard kind == failure else { throw .unknownValue(field: "outcome", value: UInt64(kind), offset: start) }
        start = reader.offset
        let raw = try reader.unsigned16("reason", in: bytes)
        guard let reason = FailureReason(rawValue: raw) else {
            throw .unknownValue(field: "reason", value: UInt64(raw), offset: start)
        }
        return .failure(HandshakeFailure(reason, try reader.prefixedText("detail", limit: limit, in: bytes)))
    }

    private static func alert(
        _ field: String, with reader: inout ByteReader, from bytes: Span<UInt8>
    ) throws(WireError) -> Alert? {
        guard try isPresent(field, with: &reader, from: bytes) else { return nil }
        return Alert(rawValue: try reader.unsigned8(field, in: bytes))
    }

    private static func isPresent(
        _ field: String, with reader: inout ByteReader, from bytes: Span<UInt8>
    ) throws(WireError) -> Bool {
        let part: Part = try reader.enumeration(field, in: bytes)
        return part == .present
    }
}
