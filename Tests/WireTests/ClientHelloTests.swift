import Testing

@testable import SigningWire
@testable import TLSWire
@testable import Wire

@Suite("What a server reads of a ClientHello")
struct ClientHelloTests {
    /// A hello with two PSK identities, as RFC 8446 §4.1.2 lays it out.
    private static let sample = hex(
        """
        0303                                # legacy_version
        000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f  # random
        04 aabbccdd                         # legacy_session_id
        0004 1301 1302                      # cipher_suites
        01 00                               # legacy_compression_methods
        007b                                # extensions
        002b 0005 04 0304 0303              # supported_versions
        0010 0009 0007 06 73756e727063      # application_layer_protocol_negotiation: sunrpc
        001c 0002 4001                      # record_size_limit
        0029 005b                           # pre_shared_key
        0014                                #   identities
        0004 6964656e 00000000              #   iden, age 0
        0004 74696b74 00001234              #   tikt, a ticket
        0043                                #   binders
        20 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f
        21 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20
        """)

    private func read(_ bytes: [UInt8]) throws(WireError) -> ClientHelloIdentities {
        try ClientHelloIdentities(from: bytes.span)
    }

    @Test("identities, versions, application protocols and record size limit are read")
    func sample() throws {
        let hello = try read(Self.sample)
        #expect(hello.identities.map(\.name) == [Array("iden".utf8), Array("tikt".utf8)])
        #expect(hello.identities.map(\.obfuscatedAge) == [0, 0x1234])
        #expect(hello.versions == [0x0304, 0x0303])
        #expect(hello.applicationProtocols == [Array("sunrpc".utf8)])
        #expect(hello.recordSizeLimit == 0x4001)
        #expect(hello.binders == 2)
        #expect(hello.session == [0xAA, 0xBB, 0xCC, 0xDD])
        #expect(hello.compressionMethods == [0])
        #expect(hello.extensions == [43, 16, 28, 41])
    }

    @Test(
        "the extension that is missing is named (RFC 8446 §9.2)",
        arguments: [
            ("000a000d0033002b", true, nil), ("000a000d0033002b", false, nil),
            ("000d0033002b", true, "supported_groups"),
            ("000a0033002b", true, "signature_algorithms"), ("000a000d002b", true, "key_share"),
            ("000a0033002d0029", false, nil), ("000a0033002d0029", true, "signature_algorithms"),
            ("000a00330029", false, "psk_key_exchange_modes"), ("0033002d0029", false, "supported_groups"),
            ("002d0029", false, nil),
        ] as [(String, Bool, String?)])
    func missing(types: String, certificate: Bool, expected: String?) throws {
        let numbers = hex(types)
        var body: [UInt8] = []
        for index in stride(from: 0, to: numbers.count, by: 2) {
            let type = Array(numbers[index..<(index + 2)])
            body += type + (type == [0, 41] ? Self.offer : type == [0, 43] ? hex("0003 02 0304") : [0, 0])
        }
        let head = hex("0303") + [UInt8](repeating: 0, count: 32) + hex("00 0002 1301 01 00")
        let hello = try read(head + [0, UInt8(body.count)] + body)
        #expect(hello.missingExtension(for: certificate) == expected)
    }

    /// The extension pre_shared_key with one identity and its binder.
    private static let offer = hex("002c 0007 0001 69 00000000 0021 20") + [UInt8](repeating: 7, count: 32)

    @Test(
        "what a list may not be is refused: empty, without a name, with a binder that is too short",
        arguments: [
            "002b 0001 00", "002b 0004 03 030403", "0010 0002 0000", "0010 0003 0001 00",
            "0029 0025 0000 0021 20 0707070707070707070707070707070707070707070707070707070707070707",
            "0029 002b 0006 0000 00000000 0021 20 0707070707070707070707070707070707070707070707070707070707070707",
            "0029 002b 0007 0001 69 00000000 0020 1f 07070707070707070707070707070707070707070707070707070707070707",
            "0029 000b 0007 0001 69 00000000 0000",
        ])
    func lists(_ text: String) {
        let body = hex(text)
        let head = hex("0303") + [UInt8](repeating: 0, count: 32) + hex("00 0002 1301 01 00")
        #expect(throws: WireError.self) { try read(head + [0, UInt8(body.count)] + body) }
    }

    @Test("the session id of a ServerHello is read, and refused where it is cut short")
    func serverHello() throws {
        let body = hex("0303") + [UInt8](repeating: 5, count: 32) + hex("02 abcd 1301 00 0006 002b 0002 0304")
        #expect(try ClientHelloIdentities.session(inServerHello: body.span) == [0xAB, 0xCD])
        let older = Array(body.prefix(40))
        #expect(try ClientHelloIdentities.session(inServerHello: older.span) == nil)
        let other = older + hex("0004 0017 0000")
        #expect(try ClientHelloIdentities.session(inServerHello: other.span) == nil)
        for count in body.indices where count != older.count {
            #expect(throws: WireError.self) {
                try ClientHelloIdentities.session(inServerHello: Array(body.prefix(count)).span)
            }
        }
    }

    @Test(
        "curves that TLS 1.3 does not have are found in DER, others are not",
        arguments: [
            ("30 0a 06052b81040021 0500", "secp224r1"), ("06052b8104000a", "secp256k1"),
            ("0609 2b2403030208010107", "brainpoolP256r1"),
            ("3007 06072a8648ce3d0101", "that its parameters spell out"),
            ("06082a8648ce3d030107", nil), ("06052b81040022", nil), ("06052b810400", nil), ("", nil),
        ] as [(String, String?)])
    func curves(_ text: String, _ name: String?) {
        #expect(EllipticCurve.foreign(in: hex(text).span) == name)
    }

    @Test("cut short anywhere, it is refused; only a hello without extensions may end before them")
    func truncation() throws {
        let withoutExtensions = 2 + 32 + 5 + 6 + 2
        for count in Self.sample.indices {
            let cut = Array(Self.sample.prefix(count))
            if count == withoutExtensions {
                #expect(try read(cut).identities.isEmpty)
            } else {
                #expect(throws: WireError.self, "cut at \(count)") { try read(cut) }
            }
        }
    }

    @Test("with any bit flipped it is read or refused, and never tells of bytes that are not there")
    func flips() {
        for (index, bit, bytes) in bitFlips(of: Self.sample) {
            guard let hello = try? read(bytes) else { continue }
            let told = hello.identities.reduce(0) { $0 + $1.name.count }
            #expect(told <= bytes.count, "byte \(index), bit \(bit)")
        }
    }

    @Test("an extension that stands twice is refused")
    func twice() {
        var bytes = Self.sample
        let limit = hex("001c 0002 4001")
        bytes.insert(contentsOf: limit, at: 2 + 32 + 5 + 6 + 2 + 2)
        bytes[2 + 32 + 5 + 6 + 2 + 1] += UInt8(limit.count)
        let error = #expect(throws: WireError.self) { try read(bytes) }
        guard case .duplicate = error else {
            Issue.record("\(String(describing: error))")
            return
        }
    }
}

@Suite("What a client reads of EncryptedExtensions")
struct EncryptedExtensionsTests {
    private static let sample = hex(
        """
        0017                                # extensions
        0010 0009 0007 06 73756e727063      # application_layer_protocol_negotiation: sunrpc
        001c 0002 4001                      # record_size_limit
        0000 0000                           # server_name
        """)

    @Test("the application protocol and the record size limit are read, where they are there")
    func sample() throws {
        let answer = try EncryptedExtensions(from: Self.sample.span)
        #expect(answer.applicationProtocol == Array("sunrpc".utf8) && answer.recordSizeLimit == 0x4001)
        let empty = try EncryptedExtensions(from: [0, 0].span)
        #expect(empty.applicationProtocol == nil && empty.recordSizeLimit == nil)
    }

    @Test(
        "a server chooses one protocol",
        arguments: ["0006 0010 0002 0000", "000b 0010 0007 0005 02 6832 01 61", "0007 0010 0003 0002 02"])
    func protocols(_ text: String) {
        #expect(throws: WireError.self) { try EncryptedExtensions(from: hex(text).span) }
    }

    @Test("cut short anywhere it is refused; with any bit flipped it tells of no byte that is not there")
    func damage() {
        for count in Self.sample.indices {
            #expect(throws: WireError.self) { try EncryptedExtensions(from: Array(Self.sample.prefix(count)).span) }
        }
        for (index, bit, bytes) in bitFlips(of: Self.sample) {
            guard let answer = try? EncryptedExtensions(from: bytes.span) else { continue }
            #expect((answer.applicationProtocol?.count ?? 0) <= bytes.count, "byte \(index), bit \(bit)")
        }
    }
}

@Suite("Record headers")
struct TLSRecordHeaderTests {
    private func read(_ text: String) throws(WireError) -> TLSRecordHeader {
        try TLSRecordHeader(from: hex(text).span)
    }

    @Test("every content type, with whatever version (RFC 8446 §5.1)")
    func accepted() throws {
        #expect(try read("16 0301 0200") == TLSRecordHeader(type: .handshake, bodyLength: 512))
        #expect(try read("17 0303 4100") == TLSRecordHeader(type: .applicationData, bodyLength: 16_640))
        #expect(try read("15 0303 0002") == TLSRecordHeader(type: .alert, bodyLength: 2))
        #expect(try read("14 0303 0001") == TLSRecordHeader(type: .changeCipherSpec, bodyLength: 1))
        for version in ["0000", "0300", "0305", "ffff"] {
            #expect(try read("16 \(version) 4000") == TLSRecordHeader(type: .handshake, bodyLength: 16_384))
        }
    }

    @Test(
        "anything else is refused",
        arguments: [
            ("18 0303 0001", .unknownValue(field: "record type", value: 24, offset: 0)),
            ("00 0303 0001", .unknownValue(field: "record type", value: 0, offset: 0)),
            ("16 0303 0000", .missing(field: "the record's content")),
            ("16 0303 4001", .outOfRange(field: "record length", offset: 3)),
            ("17 0303 4101", .outOfRange(field: "record length", offset: 3)),
        ] as [(String, WireError)])
    func refused(text: String, error: WireError) {
        #expect(throws: error) { try read(text) }
    }

    @Test("cut short it is refused, and each flipped bit is read within bounds or refused")
    func damaged() throws {
        let sample = hex("16 0303 0200")
        for count in 0..<5 {
            #expect(throws: WireError.self) { try TLSRecordHeader(from: Array(sample.prefix(count)).span) }
        }
        for (_, _, bytes) in bitFlips(of: sample) {
            guard let header = try? TLSRecordHeader(from: bytes.span) else { continue }
            #expect((1...TLSRecordHeader.longestBody).contains(header.bodyLength))
        }
    }

    @Test(
        "first bytes that are not TLS are named",
        arguments: [
            ("00 00 80 00 80000000", PlainText.nvmeInitializeRequest),
            ("01 00 80 00 80000000", .nvmeInitializeResponse),
            ("80000028 12345678 00000000", .rpcCall), ("80000028 12345678 00000001", .rpcReply),
            ("80000028 12345678 00000001 00000000 00000000 00000008 5354415254544c53", .rpcStartTLS),
            ("485454502f312e31", .http), ("5353482d322e30", .ssh), ("ffffffff", .unknown), ("", .unknown),
        ])
    func plainText(text: String, expected: PlainText) {
        #expect(PlainText(lookingAt: hex(text)) == expected)
    }
}
