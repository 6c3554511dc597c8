import Glibc
import Handshake
import TestSupport
import Testing

@testable import TLS

/// One row: what a client sends first, and what a server must make of it.
struct ProtocolRow: Sendable, CustomTestStringConvertible {
    /// What the server answers.
    enum Answer: Sendable, Equatable, CustomStringConvertible {
        /// Its first record is a ServerHello.
        case serverHello
        case alert(Alert)
        /// Neither.
        case record([UInt8])
        case nothing

        var description: String {
            switch self {
            case .serverHello: "ServerHello"
            case .alert(let alert): alert.name
            case .record(let bytes): "\(bytes)"
            case .nothing: "nothing"
            }
        }
    }

    let name: String
    let bytes: [UInt8]
    let answer: Answer
    /// Ours; `nil` where the handshake goes on.
    let reason: FailureReason?
    /// Part of the detail.
    let detail: String
    /// What `gnutls-serv` answers where that is something else, and why ours is another.
    var library: (answer: Answer, why: String)?

    var testDescription: String { name }

    private init(
        _ name: String, _ bytes: [UInt8], _ answer: Answer, _ reason: FailureReason?, _ detail: String,
        _ library: (Answer, String)?
    ) {
        (self.name, self.bytes, self.answer, self.reason, self.detail) = (name, bytes, answer, reason, detail)
        self.library = library
    }

    /// A hello that is answered as any other.
    static func valid(_ name: String, _ bytes: [UInt8], library: (Answer, String)? = nil) -> ProtocolRow {
        ProtocolRow(name, bytes, .serverHello, nil, "", library)
    }

    static func refused(
        _ name: String, _ bytes: [UInt8], _ alert: Alert, _ reason: FailureReason = .protocolViolation,
        _ detail: String = "", library: (Answer, String)? = nil
    ) -> ProtocolRow {
        ProtocolRow(name, bytes, .alert(alert), reason, detail, library)
    }

    // Why our answer is another than the library's.
    private static let ignore = "RFC 8446 §5.1: the version must be ignored for all purposes"
    private static let least = "RFC 8446 §6.2: what is shorter than it may be cannot be decoded"
    private static let twice = "RFC 8446 §4.2: none may stand twice; unsupported_extension is for answers"
    private static let missing = "RFC 8446 §9.2: the server must abort with missing_extension"
    private static let acceptable = "RFC 8446 §6.2: a PSK is desired and none that is acceptable was offered"

    static func hello(_ change: (inout HelloBytes) -> Void) -> [UInt8] { HelloBytes(change).record }
}

extension ProtocolRow {
    static let records: [ProtocolRow] = [
        .valid("record version 0x0300", hello { $0.recordVersion = 0x0300 }),
        .valid("record version 0x0301", hello { $0.recordVersion = 0x0301 }),
        .valid("record version 0x0305", hello { $0.recordVersion = 0x0305 }),
        .valid("record version 0x0000", hello { $0.recordVersion = 0 }, library: (.alert(.protocolVersion), ignore)),
        .refused(
            "a record of 2^14 + 1 bytes", [22, 3, 3, 0x40, 1] + [UInt8](repeating: 1, count: 0x4001), .recordOverflow),
        .refused("a record of 2^16 - 1 bytes", [22, 3, 3, 0xFF, 0xFF, 1, 0, 0, 1], .recordOverflow),
        .refused("an empty handshake record", [22, 3, 3, 0, 0], .unexpectedMessage),
        .refused("application data first", [23, 3, 3, 0, 20] + [UInt8](repeating: 1, count: 20), .unexpectedMessage),
        .refused(
            "change_cipher_spec first", [20, 3, 3, 0, 1, 1] + HelloBytes().record, .unexpectedMessage,
            library: (.serverHello, "RFC 8446 §5: before the ClientHello it is an unexpected record type")),
        .refused("an alert of one byte", [21, 3, 3, 0, 1, 2], .unexpectedMessage),
        .refused("a message of type 99", HelloBytes.record(22, [99, 0, 0, 1, 0]), .unexpectedMessage),
        .refused("a Finished first", HelloBytes.record(22, [20, 0, 0, 1, 0]), .unexpectedMessage),
        .refused("a ServerHello first", HelloBytes.record(22, [2, 0, 0, 1, 0]), .unexpectedMessage),
    ]

    static let hellos: [ProtocolRow] = [
        .valid("a plain hello", hello { _ in }),
        .refused("an empty hello", HelloBytes.record(22, [1, 0, 0, 0]), .decodeError),
        .refused("a hello that ends in its random", HelloBytes.record(22, [1, 0, 0, 4, 3, 3, 1, 1]), .decodeError),
        .refused("a byte behind the extensions", hello { $0.behind = [0] }, .decodeError),
        .refused(
            "extensions that are cut short",
            hello {
                $0.extensions[0].body.append(0); $0.lengthError = -1
            }, .decodeError),
        .refused("a session id of 33 bytes", hello { $0.session = Array(repeating: 1, count: 33) }, .decodeError),
        .valid("a session id of 32 bytes", hello { $0.session = Array(repeating: 1, count: 32) }),
        .refused(
            "legacy version SSL 3.0", hello { $0.legacyVersion = 0x0300 }, .protocolVersion, .protocolVersionUnsupported
        ),
        .valid("legacy version 0x0305", hello { $0.legacyVersion = 0x0305 }),
        .refused(
            "no supported_versions", hello { $0.remove(HelloBytes.versions) }, .protocolVersion,
            .protocolVersionUnsupported,
            library: (.alert(.handshakeFailure), "RFC 8446 §6.2: the version is known and not supported")),
        .refused(
            "supported_versions without TLS 1.3", hello { $0.set(HelloBytes.versions, [2, 3, 3]) }, .protocolVersion,
            .protocolVersionUnsupported),
        .refused(
            "supported_versions of an odd length", hello { $0.set(HelloBytes.versions, [3, 3, 4, 3]) }, .decodeError),
        .refused(
            "supported_versions that are none", hello { $0.set(HelloBytes.versions, [0]) }, .decodeError,
            library: (.alert(.protocolVersion), least)),
        .refused(
            "supported_versions with a byte behind them", hello { $0.set(HelloBytes.versions, [2, 3, 4, 3]) },
            .decodeError),
        .refused("compression method 1 alone", hello { $0.compression = [1] }, .illegalParameter),
        .refused(
            "compression methods 1 and 0", hello { $0.compression = [1, 0] }, .illegalParameter,
            library: (.serverHello, "RFC 8446 §4.1.2: the server must abort with illegal_parameter")),
        .refused("no compression method", hello { $0.compression = [] }, .decodeError),
        .refused("cipher suites of an odd length", hello { $0.suites = [0x13, 1, 0x13] }, .decodeError),
        .refused("no cipher suite", hello { $0.suites = [] }, .decodeError),
        .refused("no known cipher suite", hello { $0.suites = [0x0A, 0x0A] }, .handshakeFailure, .noCommonCipherSuite),
        .refused(
            "an extension twice", hello { $0.add(HelloBytes.versions, [2, 3, 4]) }, .illegalParameter,
            library: (.alert(.unsupportedExtension), twice)),
        .refused(
            "an unknown extension twice",
            hello {
                $0.add(0x5A5A, []); $0.add(0x5A5A, [])
            }, .illegalParameter, library: (.serverHello, twice)),
        .refused(
            "no signature_algorithms", hello { $0.remove(HelloBytes.signatures) }, .missingExtension,
            library: (.alert(.handshakeFailure), missing)),
        .refused(
            "signature_algorithms of an odd length", hello { $0.set(HelloBytes.signatures, [0, 3, 4, 3, 8]) },
            .decodeError),
        .refused("signature_algorithms that are none", hello { $0.set(HelloBytes.signatures, [0, 0]) }, .decodeError),
        .refused(
            "no signature scheme of ours", hello { $0.set(HelloBytes.signatures, [0, 2, 5, 3]) }, .handshakeFailure,
            .noCommonSignatureScheme),
        .refused(
            "neither groups nor key share",
            hello {
                $0.remove(HelloBytes.groups); $0.remove(HelloBytes.keyShare)
            }, .missingExtension),
        .refused(
            "a key share without groups", hello { $0.remove(HelloBytes.groups) }, .missingExtension,
            library: (.alert(.handshakeFailure), missing)),
        .refused("groups without a key share", hello { $0.remove(HelloBytes.keyShare) }, .missingExtension),
        .refused("groups of an odd length", hello { $0.set(HelloBytes.groups, [0, 3, 0, 23, 0]) }, .decodeError),
        .refused(
            "no common group",
            hello {
                $0.set(HelloBytes.groups, [0, 2, 0x0A, 0x0A]);
                $0.set(HelloBytes.keyShare, HelloBytes.share(0x0A0A, [1]))
            }, .handshakeFailure, .noCommonGroup),
        // A server may refuse these two (RFC 8446 §4.2.8).
        .valid("a key share of another group than those offered", hello { $0.set(HelloBytes.groups, [0, 2, 0, 24]) }),
        .valid(
            "two key shares of one group",
            hello { $0.set(HelloBytes.keyShare, HelloBytes.share(23, HelloBytes.point, 2)) }),
        .refused(
            "a key share that is no point",
            hello { $0.set(HelloBytes.keyShare, HelloBytes.share(23, [4] + [UInt8](repeating: 1, count: 64))) },
            .illegalParameter),
        .refused(
            "a key share at infinity", hello { $0.set(HelloBytes.keyShare, HelloBytes.share(23, [0])) },
            .illegalParameter),
        .refused(
            "a compressed point",
            hello { $0.set(HelloBytes.keyShare, HelloBytes.share(23, [3] + HelloBytes.point[1..<33])) },
            .illegalParameter),
        .refused(
            "a key share that is too short",
            hello { $0.set(HelloBytes.keyShare, HelloBytes.share(23, Array(HelloBytes.point.dropLast()))) },
            .illegalParameter),
        .refused(
            "an empty key share", hello { $0.set(HelloBytes.keyShare, HelloBytes.share(23, [])) }, .illegalParameter),
        .refused(
            "an X25519 share of 31 bytes",
            hello {
                $0.set(HelloBytes.groups, [0, 2, 0, 29]);
                $0.set(HelloBytes.keyShare, HelloBytes.share(29, [UInt8](repeating: 9, count: 31)))
            }, .illegalParameter),
        .refused(
            "an X25519 share of order 1",
            hello {
                $0.set(HelloBytes.groups, [0, 2, 0, 29]);
                $0.set(HelloBytes.keyShare, HelloBytes.share(29, [UInt8](repeating: 0, count: 32)))
            }, .illegalParameter),
        .refused(
            "key shares that are cut short", hello { $0.set(HelloBytes.keyShare, [0, 80, 0, 23, 0, 65, 4]) },
            .decodeError),
        .refused("a list of no application protocols", hello { $0.add(HelloBytes.protocols, [0, 0]) }, .decodeError),
        .refused(
            "an application protocol without name", hello { $0.add(HelloBytes.protocols, [0, 1, 0]) }, .decodeError),
        .refused("a record size limit of one byte", hello { $0.add(HelloBytes.recordSize, [64]) }, .decodeError),
        .refused("a record size limit of 63", hello { $0.add(HelloBytes.recordSize, [0, 63]) }, .illegalParameter),
        .refused(
            "a server name that is cut short", hello { $0.add(HelloBytes.serverName, [0, 9, 0, 0, 9, 97]) },
            .decodeError),
    ]

    static let preSharedKeys: [ProtocolRow] = [
        .refused(
            "a wrong binder", HelloBytes.preSharedKey("host").record, .decryptError, .pskBinderMismatch,
            library: (.alert(.illegalParameter), "RFC 8446 §6.2: a binder that does not validate is a decrypt_error")),
        .refused(
            "an unknown identity", HelloBytes.preSharedKey("guest").record, .unknownPSKIdentity, .pskIdentityUnknown,
            library: (
                .alert(.illegalParameter),
                "GnuTLS goes on with a key of its own and blames the binder; an operator must know"
            )),
        .refused(
            "no PSK", HelloBytes().record, .unknownPSKIdentity, .pskIdentityUnknown, "it offered none",
            library: (.alert(.handshakeFailure), acceptable)),
        .refused(
            "a ticket age", HelloBytes.preSharedKey("host", age: 1).record, .unknownPSKIdentity,
            .pskTicketAgeUnsupported, library: (.alert(.handshakeFailure), acceptable)),
        .refused(
            "an unknown identity with a ticket age", HelloBytes.preSharedKey("guest", age: 1).record,
            .unknownPSKIdentity, .pskIdentityUnknown, library: (.alert(.handshakeFailure), acceptable)),
        .refused(
            "an empty identity", HelloBytes.preSharedKey("").record, .decodeError,
            library: (.alert(.illegalParameter), least)),
        .refused(
            "a short binder", HelloBytes.preSharedKey("host", binder: 31).record, .decodeError,
            library: (.alert(.illegalParameter), least)),
        .refused(
            "no binder",
            HelloBytes.preSharedKey("host") {
                $0.set(HelloBytes.preSharedKey, vector16(vector16(Array("host".utf8)) + [0, 0, 0, 0]) + [0, 0])
            }.record, .decodeError, library: (.alert(.illegalParameter), least)),
        .refused(
            "no identities",
            HelloBytes.preSharedKey("host") {
                $0.set(HelloBytes.preSharedKey, [0, 0, 0, 33, 32] + [UInt8](repeating: 7, count: 32))
            }.record, .decodeError, library: (.alert(.handshakeFailure), least)),
        .refused(
            "two binders for one identity",
            HelloBytes.preSharedKey("host") {
                $0.set(
                    HelloBytes.preSharedKey,
                    vector16(vector16(Array("host".utf8)) + [0, 0, 0, 0])
                        + vector16([32] + [UInt8](repeating: 7, count: 32) + [32] + [UInt8](repeating: 7, count: 32)))
            }.record, .illegalParameter),
        .refused(
            "no psk_key_exchange_modes", HelloBytes.preSharedKey("host") { $0.remove(HelloBytes.modes) }.record,
            .missingExtension,
            library: (.alert(.unsupportedExtension), "RFC 8446 §4.2.9: the extension is missing, none is illegal")),
        .refused(
            "an extension behind pre_shared_key", HelloBytes.preSharedKey("host") { $0.add(0x5A5A, []) }.record,
            .illegalParameter),
    ]
}

/// `gnutls-serv`, for every row, so that the expectation is not ours alone.
private enum Reference {
    nonisolated(unsafe) private static var servers: [Bool: (PeerProgram, UInt16)] = [:]

    static func answer(_ bytes: [UInt8], preSharedKey: Bool) throws -> ProtocolRow.Answer {
        let socket = try Loopback.connect(try port(preSharedKey))
        defer { close(socket) }
        return try answerOf(socket, to: bytes)
    }

    private static func port(_ preSharedKey: Bool) throws -> UInt16 {
        if let (_, port) = unsafe servers[preSharedKey] { return port }
        let files = Fixtures.shared
        var priority = "NORMAL:-VERS-ALL:+VERS-TLS1.3"
        var arguments: [String] = []
        if preSharedKey {
            files.write(Array("host:\(Peers.keyText)\n".utf8), as: "table-passwords")
            priority += ":-KX-ALL:+ECDHE-PSK"
            arguments += ["--pskpasswd", files.path("table-passwords")]
        }
        let made = try Peers.gnutlsServer(
            arguments + ["--priority", priority], certificate: preSharedKey ? nil : "ecdsa")
        unsafe servers[preSharedKey] = made
        return made.1
    }

    /// Sends bytes and reads the first record of the answer.
    static func answerOf(_ socket: Int32, to bytes: [UInt8]) throws -> ProtocolRow.Answer {
        _ = unsafe send(socket, bytes, bytes.count, Int32(MSG_NOSIGNAL))
        shutdown(socket, Int32(SHUT_WR))
        return firstRecord(on: socket)
    }

    static func firstRecord(on socket: Int32) -> ProtocolRow.Answer {
        var answer: [UInt8] = []
        while answer.count < 7, awaitInput(socket) {
            var part = [UInt8](repeating: 0, count: 7 - answer.count)
            let count = unsafe recv(socket, &part, part.count, 0)
            guard count > 0 else { break }
            answer += part.prefix(count)
        }
        guard answer.count == 7 else { return answer.isEmpty ? .nothing : .record(answer) }
        if answer.starts(with: [21, 3, 3, 0, 2, 2]) { return .alert(Alert(rawValue: answer[6])) }
        return answer[0] == 22 && answer[5] == 2 ? .serverHello : .record(answer)
    }
}

@Suite("the protocol, to the letter", .serialized) struct ProtocolTableTests {
    @Test("what a server answers to records and hellos", arguments: ProtocolRow.records + ProtocolRow.hellos)
    func certificates(_ row: ProtocolRow) throws { try check(row, preSharedKey: false) }

    @Test("what a server answers to PSKs", arguments: ProtocolRow.preSharedKeys)
    func preSharedKeys(_ row: ProtocolRow) throws { try check(row, preSharedKey: true) }

    @Test(
        "a server of TLS 1.2 is named as such, though its hello has a session id of its own", arguments: [false, true])
    func olderServer(_ isReference: Bool) throws {
        var hello: [UInt8] = [3, 3] + [UInt8](repeating: 0x5A, count: 32) + [32] + [UInt8](repeating: 7, count: 32)
        // TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, and extended_master_secret.
        hello += [0xC0, 0x2B, 0, 0, 4, 0, 23, 0, 0]
        let record = HelloBytes.record(22, [2, 0] + vector16(hello))
        guard isReference else {
            let (near, far) = try Loopback.pair()
            defer { close(far) }
            let engine = try Engine(Engine.Plan(), on: near)
            _ = unsafe send(far, record, record.count, Int32(MSG_NOSIGNAL))
            let failure = try #require(engine.failure())
            #expect(failure.reason == .protocolVersionUnsupported, "\(failure)")
            #expect(engine.session.alertSent == .protocolVersion)
            return
        }
        let (program, socket) = try Peers.gnutlsClient(["--priority", "NORMAL:-VERS-ALL:+VERS-TLS1.3"])
        defer { close(socket) }
        var request = [UInt8](repeating: 0, count: 4096)
        #expect(awaitInput(socket))
        _ = unsafe recv(socket, &request, request.count, 0)
        _ = unsafe send(socket, record, record.count, Int32(MSG_NOSIGNAL))
        #expect(Reference.firstRecord(on: socket) == .alert(.protocolVersion), "\(program.text)")
    }

    private func check(_ row: ProtocolRow, preSharedKey: Bool) throws {
        let (near, far) = try Loopback.pair()
        defer { close(far) }
        _ = unsafe send(far, row.bytes, row.bytes.count, Int32(MSG_NOSIGNAL))
        let engine = try Engine(preSharedKey ? .server(keys: [("host", Peers.key)]) : .server(), on: near)
        // A hello that is answered leaves the server waiting for the client's next message, which never comes.
        shutdown(far, Int32(SHUT_WR))
        let failure = try #require(engine.failure())
        let answer = Reference.firstRecord(on: far)
        #expect(answer == row.answer, "\(failure)")
        if let reason = row.reason {
            #expect(failure.reason == reason, "\(failure)")
            #expect(failure.detail.contains(row.detail), "\(failure)")
        } else {
            #expect(failure.reason == .peerClosed)
        }
        let other = try Reference.answer(row.bytes, preSharedKey: preSharedKey)
        #expect(other == row.library?.answer ?? row.answer, "gnutls-serv")
    }
}
