package import Handshake

extension HandshakeResult: MessageFields {
    private static let mostRemarks = 4

    package mutating func code(_ coder: inout MessageCoder, in bytes: inout MutableSpan<UInt8>) throws(WireError) {
        let limit = MessageLimit.text
        try outcome.code(&coder, in: &bytes)
        try coder.optional("certificate", &peerCertificate, blank: .blank, in: &bytes) {
            (coder, certificate, bytes) throws(WireError) in
            try certificate.code(&coder, in: &bytes)
        }
        try coder.optional("PSK identity", &pskIdentity, blank: "", in: &bytes) {
            (coder, identity, bytes) throws(WireError) in
            try coder.text("PSK identity", &identity, limit: limit, in: &bytes)
        }
        try coder.optional("alert sent", &alertSent, blank: .closeNotify, in: &bytes) {
            (coder, alert, bytes) throws(WireError) in
            try coder.choice("alert sent", &alert, in: &bytes)
        }
        try coder.optional("alert received", &alertReceived, blank: .closeNotify, in: &bytes) {
            (coder, alert, bytes) throws(WireError) in
            try coder.choice("alert received", &alert, in: &bytes)
        }
        try coder.texts(
            "tags", "tag", &tags, limit: SessionTags.mostTags, each: SessionTags.longestName, in: &bytes)
        try coder.texts("remarks", "remark", &remarks, limit: Self.mostRemarks, each: limit, in: &bytes)
        try Self.code("elapsed", &elapsed, &coder, in: &bytes)
        try Self.code("processor time", &processorTime, &coder, in: &bytes)
    }

    /// A duration in microseconds.
    private static func code(
        _ field: String, _ duration: inout Duration, _ coder: inout MessageCoder, in bytes: inout MutableSpan<UInt8>
    ) throws(WireError) {
        let start = coder.offset
        let (seconds, attoseconds) = duration.components
        var microseconds = UInt64(clamping: seconds * 1_000_000 + attoseconds / 1_000_000_000_000)
        try coder.integer(field, &microseconds, in: &bytes)
        guard let count = Int64(exactly: microseconds) else { throw .outOfRange(field: field, offset: start) }
        duration = .microseconds(count)
    }
}

extension HandshakeResult.Outcome: MessageFields {
    private enum Kind: UInt8 {
        case success = 1
        case failure = 2
    }

    package mutating func code(_ coder: inout MessageCoder, in bytes: inout MutableSpan<UInt8>) throws(WireError) {
        let limit = MessageLimit.text
        var kind = kind
        try coder.choice("outcome", &kind, in: &bytes)
        if coder.isReading { self = Self.blank(kind) }
        switch self {
        case .success(var session):
            try coder.text("cipher suite", &session.cipherSuite, limit: limit, in: &bytes)
            try coder.text("group", &session.group, limit: limit, in: &bytes)
            try coder.text("ALPN", &session.applicationProtocol, limit: limit, in: &bytes)
            try coder.flag("peer authenticated", &session.peerAuthenticated, in: &bytes)
            self = .success(session)
        case .failure(let failure):
            var reason = failure.reason, detail = failure.detail
            try coder.choice("reason", &reason, in: &bytes)
            try coder.text("detail", &detail, limit: limit, in: &bytes)
            self = .failure(HandshakeFailure(reason, detail))
        }
    }

    private var kind: Kind {
        switch self {
        case .success: .success
        case .failure: .failure
        }
    }

    private static func blank(_ kind: Kind) -> Self {
        switch kind {
        case .success:
            .success(NegotiatedSession(cipherSuite: "", group: "", applicationProtocol: "", peerAuthenticated: false))
        case .failure: .failure(HandshakeFailure(.libraryFailure))
        }
    }
}
