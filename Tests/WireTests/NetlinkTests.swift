import Handshake
import KernelWire
import Policy
import Testing
import Wire

/// Replies to ACCEPT as kernels send them, on a little-endian machine.
enum NetlinkSamples {
    /// Linux 6.5: an NFS client without certificate.
    static let linux65 = hex(
        """
        40 00 00 00  # length 64
        1f 00        # type: the family
        00 00        # flags
        02 00 00 00  # sequence 2
        39 30 00 00  # port
        02 01 00 00  # ACCEPT, version 1, reserved
        08 00 01 00  05 00 00 00  # SOCKFD 5
        08 00 03 00  01 00 00 00  # MESSAGE_TYPE clienthello
        13 00 08 00  73 65 72 76 65 72 2e 65 78 61 6d 70 6c 65 00 00  # PEERNAME server.example, NUL, padding
        08 00 05 00  01 00 00 00  # AUTH_MODE unauth
        """)

    /// Linux 6.12: an NVMe host with two PSKs.
    static let linux612 = hex(
        """
        44 00 00 00  # length 68
        1f 00 00 00  03 00 00 00  39 30 00 00
        02 01 00 00
        08 00 01 00  06 00 00 00  # SOCKFD 6
        08 00 03 00  01 00 00 00  # MESSAGE_TYPE clienthello
        08 00 04 00  10 27 00 00  # TIMEOUT 10000 ms
        08 00 05 00  02 00 00 00  # AUTH_MODE psk
        08 00 06 00  aa bb cc 0d  # PEER_IDENTITY
        08 00 06 00  01 02 03 04  # PEER_IDENTITY
        """)

    /// Linux 7.2: an NFS client whose certificate and keyring are named by serial.
    static let linux72 = hex(
        """
        64 00 00 00  # length 100
        1f 00 00 00  04 00 00 00  39 30 00 00
        02 01 00 00
        08 00 01 00  07 00 00 00  # SOCKFD 7
        08 00 03 00  01 00 00 00  # MESSAGE_TYPE clienthello
        13 00 08 00  73 65 72 76 65 72 2e 65 78 61 6d 70 6c 65 00 00  # PEERNAME
        08 00 04 00  10 27 00 00  # TIMEOUT 10000 ms
        08 00 09 00  11 22 33 04  # KEYRING
        08 00 05 00  03 00 00 00  # AUTH_MODE x509
        14 00 07 80  # CERTIFICATE, nested
        08 00 01 00  01 00 00 01  # CERT
        08 00 02 00  02 00 00 01  # PRIVKEY
        """)

    static let all = [linux65, linux612, linux72]

    static func reply(_ bytes: [UInt8]) throws -> AcceptReply {
        let message = try #require(try NetlinkMessage.all(in: bytes.span).first)
        return AcceptReply(from: try GenericNetlinkMessage(from: message, in: bytes.span), in: bytes.span)
    }

    /// The reply with other attributes, its length set right.
    static func reply(attributes: String) -> [UInt8] {
        var bytes = Array(linux65.prefix(20)) + hex(attributes)
        bytes[0] = UInt8(bytes.count)
        return bytes
    }
}

@Suite("Replies to ACCEPT")
struct AcceptReplyTests {
    @Test("Linux 6.5: an anonymous client with a peer name")
    func linux65() throws {
        let reply = try NetlinkSamples.reply(NetlinkSamples.linux65)
        #expect(reply.socket == 5)
        let expected = HandshakeRequest(
            transport: .netlink, role: .client, authentication: .unauthenticated, peerName: "server.example")
        #expect(reply.request == .success(expected))
    }

    @Test("Linux 6.12: a PSK client with two identities and a timeout")
    func linux612() throws {
        let reply = try NetlinkSamples.reply(NetlinkSamples.linux612)
        #expect(reply.socket == 6)
        let expected = HandshakeRequest(
            transport: .netlink, role: .client, authentication: .preSharedKey,
            peerIdentities: [0x0dcc_bbaa, 0x0403_0201].compactMap { KeySerial($0) }, timeout: .seconds(10))
        #expect(reply.request == .success(expected))
    }

    @Test("Linux 7.2: an x509 client with certificate, key and keyring")
    func linux72() throws {
        let reply = try NetlinkSamples.reply(NetlinkSamples.linux72)
        #expect(reply.socket == 7)
        let expected = HandshakeRequest(
            transport: .netlink, role: .client, authentication: .x509, peerName: "server.example",
            certificate: KeySerial(0x0100_0001), privateKey: KeySerial(0x0100_0002), keyring: KeySerial(0x0433_2211),
            timeout: .seconds(10))
        #expect(reply.request == .success(expected))
    }

    @Test("a server's identity 0 is none, serials of 0 are none, and what a newer kernel adds is skipped")
    func zeros() throws {
        let bytes = NetlinkSamples.reply(
            attributes: """
                08 00 01 00 05 00 00 00  08 00 03 00 02 00 00 00  08 00 05 00 02 00 00 00
                08 00 06 00 00 00 00 00  08 00 09 00 00 00 00 00
                05 00 0a 00 01 00 00 00  0c 00 07 80 08 00 03 00 01 00 00 00  08 00 04 00 00 00 00 00
                """)
        let reply = try NetlinkSamples.reply(bytes)
        let expected = HandshakeRequest(transport: .netlink, role: .server, authentication: .preSharedKey)
        #expect(reply.request == .success(expected))
        #expect(reply.mostTags == HandshakeFamily.mostTags)
    }

    @Test("a kernel that takes session tags says how many")
    func mostTags() throws {
        let bytes = NetlinkSamples.reply(
            attributes: """
                08 00 01 00 05 00 00 00  08 00 03 00 02 00 00 00  08 00 05 00 03 00 00 00  08 00 0a 00 10 00 00 00
                """)
        #expect(try NetlinkSamples.reply(bytes).mostTags == 16)
    }

    @Test(
        "a reply that cannot be served is an error that still names the socket",
        arguments: [
            ("08 00 01 00 05 00 00 00 08 00 05 00 03 00 00 00", WireError.missing(field: "message type")),
            ("08 00 01 00 05 00 00 00 08 00 03 00 02 00 00 00", .missing(field: "authentication")),
            // The socket comes last, behind what is wrong.
            (
                "08 00 03 00 03 00 00 00 08 00 01 00 05 00 00 00",
                .unknownValue(field: "message type", value: 3, offset: 24)
            ),
            (
                "08 00 05 00 00 00 00 00 08 00 01 00 05 00 00 00",
                .unknownValue(field: "authentication", value: 0, offset: 24)
            ),
            (
                "08 00 05 00 02 01 00 00 08 00 01 00 05 00 00 00",
                .unknownValue(field: "authentication", value: 258, offset: 24)
            ),
            ("06 00 03 00 01 00 00 00 08 00 01 00 05 00 00 00", .outOfRange(field: "message type", offset: 24)),
            ("08 00 01 00 05 00 00 00 05 00 08 00 00 00 00 00", .malformedText(field: "peer name", offset: 32)),
            ("08 00 01 00 05 00 00 00 08 00 08 00 61 62 63 64", .malformedText(field: "peer name", offset: 32)),
            ("08 00 01 00 05 00 00 00 08 00 08 00 61 00 63 00", .malformedText(field: "peer name", offset: 32)),
            ("08 00 01 00 05 00 00 00 06 00 08 00 ff 00 00 00", .malformedText(field: "peer name", offset: 32)),
            ("08 00 01 00 05 00 00 00 08 00 01 00 06 00 00 00", .duplicate(field: "socket", offset: 32)),
            ("08 00 01 00 05 00 00 00 08 00 06 00 ff ff ff ff", .outOfRange(field: "peer identity", offset: 32)),
            ("08 00 01 00 05 00 00 00 03 00 03 00", .outOfRange(field: "attribute length", offset: 28)),
            ("08 00 01 00 05 00 00 00 ff 00 03 00", .truncated(field: "attribute 3", offset: 32)),
        ])
    func broken(attributes: String, error: WireError) throws {
        let reply = try NetlinkSamples.reply(NetlinkSamples.reply(attributes: attributes))
        #expect(reply.socket == 5)
        #expect(reply.request == .failure(error))
    }

    @Test("six identities are one too many")
    func tooManyIdentities() throws {
        let head = "08 00 01 00 05 00 00 00 08 00 03 00 01 00 00 00 08 00 05 00 02 00 00 00"
        let five = head + String(repeating: " 08 00 06 00 01 00 00 00", count: 5)
        guard case .success(let request) = try NetlinkSamples.reply(NetlinkSamples.reply(attributes: five)).request
        else {
            Issue.record("five are refused")
            return
        }
        #expect(request.peerIdentities.count == 5)
        let six = try NetlinkSamples.reply(NetlinkSamples.reply(attributes: five + " 08 00 06 00 01 00 00 00"))
        #expect(six.request == .failure(.outOfRange(field: "number of peer identities", offset: 88)))
    }

    @Test(
        "without a socket, or with a negative one, there is none to answer", arguments: ["", "08 00 01 00 ff ff ff ff"])
    func noSocket(attributes: String) throws {
        let reply = try NetlinkSamples.reply(NetlinkSamples.reply(attributes: attributes))
        #expect(reply.socket == nil)
        #expect(throws: WireError.self) { try reply.request.get() }
    }

    @Test("cut off anywhere the message is refused; with its length mended, the socket is named as soon as it is whole")
    func truncated() throws {
        for sample in NetlinkSamples.all {
            for length in 1..<sample.count {
                #expect(throws: WireError.self) { try NetlinkMessage.all(in: sample.span.extracting(first: length)) }
            }
            let whole = try NetlinkSamples.reply(sample)
            for length in 20..<sample.count {
                var bytes = Array(sample.prefix(length))
                bytes[0] = UInt8(length)
                let reply = try NetlinkSamples.reply(bytes)
                #expect(reply.socket == (length >= 28 ? whole.socket : nil), "\(length) bytes")
                #expect(reply.request != whole.request, "\(length) bytes")
            }
        }
    }

    @Test("a flipped bit is refused or makes a difference, save in what the format ignores")
    func flipped() throws {
        for sample in NetlinkSamples.all {
            let whole = try NetlinkSamples.reply(sample)
            let ignored = try ignoredBits(of: sample)
            for flip in bitFlips(of: sample) where !ignored.contains(flip.index * 8 + flip.bit) {
                guard let message = try? NetlinkMessage.all(in: flip.bytes.span).first else { continue }
                guard let generic = try? GenericNetlinkMessage(from: message, in: flip.bytes.span) else { continue }
                let reply = AcceptReply(from: generic, in: flip.bytes.span)
                let differs = reply.request != whole.request || reply.socket != whole.socket
                #expect(differs, "bit \(flip.bit) of byte \(flip.index)")
            }
        }
    }

    /// Message and family headers, which others judge; flags of attribute types; padding.
    private func ignoredBits(of sample: [UInt8]) throws -> Set<Int> {
        var ignored = Set(4 * 8..<20 * 8)
        var ranges = [20..<sample.count]
        while let range = ranges.popLast() {
            for attribute in try NetlinkAttribute.all(in: range, of: sample.span) {
                let typeByte = attribute.value.lowerBound - 1
                ignored.formUnion([typeByte * 8 + 6, typeByte * 8 + 7])
                let end = attribute.value.upperBound
                let padded = (end + 3) / 4 * 4
                ignored.formUnion(end * 8..<padded * 8)
                // A length that is longer only by the padding reads the same, where the padding is part of no value.
                if attribute.type == 7 { ranges.append(attribute.value) }
            }
        }
        return ignored
    }
}

@Suite("Netlink messages")
struct NetlinkMessageTests {
    @Test("a datagram may hold several messages")
    func several() throws {
        let bytes = NetlinkSamples.linux65 + NetlinkSamples.linux612
        let messages = try NetlinkMessage.all(in: bytes.span)
        #expect(messages.map(\.sequence) == [2, 3])
        #expect(messages.map(\.payload) == [16..<64, 80..<132])
        #expect(messages.map(\.type) == [31, 31] && messages.map(\.port) == [12345, 12345])
    }

    private static let refusal = hex(
        """
        3c 00 00 00  02 00 00 02  07 00 00 00  39 30 00 00  # NLMSG_ERROR, flags: explained
        ea ff ff ff  # -EINVAL
        1c 00 00 00  1f 00 05 00  07 00 00 00  39 30 00 00  # the request's header,
        03 01 00 00  08 00 04 00  00 00 00 00               # and its payload
        09 00 01 00  6e 6f 70 65 00 00 00 00  # NLMSGERR_ATTR_MSG "nope"
        """)

    @Test("a refusal tells its errno and the kernel's words, with the request repeated or left out")
    func refusal() throws {
        let message = try #require(try NetlinkMessage.all(in: Self.refusal.span).first)
        let verdict = try NetlinkAcknowledgement(from: message, in: Self.refusal.span)
        #expect(verdict.number == 22 && verdict.text == "nope")

        let capped = hex(
            """
            30 00 00 00  02 00 00 03  07 00 00 00  39 30 00 00
            ea ff ff ff  1c 00 00 00  1f 00 05 00  07 00 00 00  39 30 00 00
            09 00 01 00  6e 6f 70 65 00 00 00 00
            """)
        let short = try #require(try NetlinkMessage.all(in: capped.span).first)
        let other = try NetlinkAcknowledgement(from: short, in: capped.span)
        #expect(other.number == 22 && other.text == "nope")
    }

    @Test("an acknowledgement is errno 0, without words")
    func acknowledgement() throws {
        let bytes = hex(
            """
            24 00 00 00  02 00 00 01  07 00 00 00  39 30 00 00
            00 00 00 00  1c 00 00 00  1f 00 05 00  07 00 00 00  39 30 00 00
            """)
        let message = try #require(try NetlinkMessage.all(in: bytes.span).first)
        let verdict = try NetlinkAcknowledgement(from: message, in: bytes.span)
        #expect(verdict.number == 0 && verdict.text == nil)
    }

    @Test("a refusal that is cut off or has flipped bits is refused or is sound, and a positive errno is refused")
    func damagedRefusal() throws {
        for length in 17..<Self.refusal.count {
            var bytes = Array(Self.refusal.prefix(length))
            bytes[0] = UInt8(length)
            let message = try #require(try NetlinkMessage.all(in: bytes.span).first)
            let verdict = try? NetlinkAcknowledgement(from: message, in: bytes.span)
            #expect(verdict == nil || verdict?.number == 22, "\(length) bytes")
            #expect(verdict?.text == nil || length >= 57, "\(length) bytes")
        }
        for flip in bitFlips(of: Self.refusal) {
            guard let message = try? NetlinkMessage.all(in: flip.bytes.span).first else { continue }
            guard let verdict = try? NetlinkAcknowledgement(from: message, in: flip.bytes.span) else { continue }
            #expect((0..<4096).contains(verdict.number))
        }
        var positive = Self.refusal
        positive.replaceSubrange(16..<20, with: [22, 0, 0, 0])
        let message = try #require(try NetlinkMessage.all(in: positive.span).first)
        #expect(throws: WireError.outOfRange(field: "error number", offset: 16)) {
            try NetlinkAcknowledgement(from: message, in: positive.span)
        }
    }

    private func encode(_ command: HandshakeCommand) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 64)
        var span = bytes.mutableSpan
        let length = try command.encode(family: 31, sequence: 9, to: &span)
        return Array(bytes.prefix(length))
    }

    @Test("ACCEPT names its handler class and asks for no acknowledgement")
    func accept() throws {
        let expected = hex(
            """
            1c 00 00 00  1f 00 01 00  09 00 00 00  00 00 00 00  # request
            02 01 00 00
            08 00 02 00  01 00 00 00  # HANDLER_CLASS tlshd
            """)
        #expect(try encode(.accept) == expected)
    }

    @Test("DONE always has a status, asks for an acknowledgement, and names an identity only where there is one")
    func done() throws {
        let success = hex(
            """
            2c 00 00 00  1f 00 05 00  09 00 00 00  00 00 00 00  # request, acknowledge
            03 01 00 00
            08 00 01 00  00 00 00 00  # STATUS 0
            08 00 02 00  05 00 00 00  # SOCKFD 5
            08 00 03 00  04 03 02 01  # REMOTE_AUTH
            """)
        #expect(
            try encode(.done(socket: 5, status: .success, remoteIdentity: KeySerial(0x0102_0304))) == success)
        let failure = hex(
            """
            24 00 00 00  1f 00 05 00  09 00 00 00  00 00 00 00
            03 01 00 00
            08 00 01 00  0d 00 00 00  # STATUS EACCES
            08 00 02 00  05 00 00 00
            """)
        #expect(try encode(.done(socket: 5, status: .accessDenied, remoteIdentity: nil)) == failure)
    }

    @Test("a request that does not fit is refused")
    func room() {
        var bytes = [UInt8](repeating: 0, count: 20)
        #expect(throws: WireError.doesNotFit(message: "netlink request", size: 20)) {
            var span = bytes.mutableSpan
            _ = try HandshakeCommand.accept.encode(family: 31, sequence: 9, to: &span)
        }
    }
}
