package import Handshake
package import Policy
package import Wire

/// The kernel's reply to ACCEPT (net/handshake/tlshd.c, tls_handshake_accept).
///
/// If the request cannot be parsed, the socket is still returned if possible: the kernel has installed its descriptor,
/// so it must be answered.
package struct AcceptReply: Sendable, Equatable {
    /// The descriptor that ACCEPT installed in this process; `nil` if it cannot be parsed.
    package let socket: Int32?
    /// The request, or the reason why it cannot be parsed.
    package let request: Result<HandshakeRequest, WireError>
    /// Maximum number of session tags in DONE.
    package let mostTags: Int

    /// Parses the attributes of an ACCEPT message. Unknown attributes of newer kernels are skipped.
    package init(from message: GenericNetlinkMessage, in bytes: Span<UInt8>) {
        var fields = AcceptFields()
        var problem: WireError?
        do throws(WireError) {
            for attribute in try NetlinkAttribute.all(in: message.attributes, of: bytes) {
                // Continue after a malformed attribute: the socket may follow it.
                do throws(WireError) {
                    try fields.take(attribute, from: bytes)
                } catch {
                    problem = problem ?? error
                }
            }
        } catch {
            problem = problem ?? error
            fields.salvageSocket(in: message.attributes, of: bytes)
        }
        socket = fields.socket
        mostTags = fields.mostTags
        if let problem {
            request = .failure(problem)
        } else {
            do throws(WireError) {
                request = .success(try fields.request())
            } catch {
                request = .failure(error)
            }
        }
    }
}

/// Attributes of an ACCEPT reply, parsed one by one.
private struct AcceptFields {
    var socket: Int32?
    private var seen: Set<UInt16> = []
    private var role: Role?
    private var authentication: Authentication?
    private var timeout: Duration?
    private var peerIdentities: [KeySerial] = []
    private var certificate: KeySerial?
    private var privateKey: KeySerial?
    private var peerName: String?
    private var keyring: KeySerial?
    private(set) var mostTags = HandshakeFamily.mostTags

    mutating func take(_ attribute: NetlinkAttribute, from bytes: Span<UInt8>) throws(WireError) {
        guard let kind = HandshakeFamily.AcceptAttribute(rawValue: attribute.type) else { return }
        let offset = attribute.value.lowerBound
        if kind != .peerIdentity, !seen.insert(attribute.type).inserted {
            throw .duplicate(field: "\(kind)", offset: offset)
        }
        switch kind {
        case .socket:
            let number = try attribute.signed32("socket", in: bytes)
            guard number >= 0 else { throw .outOfRange(field: "socket", offset: offset) }
            socket = number
        case .handlerClass:
            let value = try attribute.unsigned32("handler class", in: bytes)
            guard value == HandshakeFamily.handlerClass else {
                throw .unknownValue(field: "handler class", value: UInt64(value), offset: offset)
            }
        case .messageType:
            role = try Self.enumeration(attribute, "message type", in: bytes)
        case .timeout:
            timeout = .milliseconds(Int64(try attribute.unsigned32("timeout", in: bytes)))
        case .authentication:
            authentication = try Self.enumeration(attribute, "authentication", in: bytes)
        case .peerIdentity:
            // 0 means "any key"; the kernel sends it to servers.
            guard let serial = try Self.serial(attribute, "peer identity", in: bytes) else { return }
            guard peerIdentities.count < MessageLimit.preSharedKeys else {
                throw .outOfRange(field: "number of peer identities", offset: offset)
            }
            peerIdentities.append(serial)
        case .certificate:
            try takeCertificate(attribute, from: bytes)
        case .peerName:
            let name = try attribute.text("peer name", in: bytes)
            guard name.utf8.count <= MessageLimit.peerName else {
                throw .outOfRange(field: "peer name", offset: offset)
            }
            peerName = name
        case .keyring:
            keyring = try Self.serial(attribute, "keyring", in: bytes)
        case .mostTags:
            // An unknown value of a newer kernel does not prevent the handshake.
            if let number = try? attribute.unsigned32("number of tags", in: bytes) { mostTags = Int(clamping: number) }
        }
    }

    func request() throws(WireError) -> HandshakeRequest {
        guard socket != nil else { throw .missing(field: "socket") }
        guard let role else { throw .missing(field: "message type") }
        guard let authentication else { throw .missing(field: "authentication") }
        return HandshakeRequest(
            transport: .netlink, role: role, authentication: authentication, peerName: peerName,
            peerIdentities: peerIdentities, certificate: certificate, privateKey: privateKey, keyring: keyring,
            timeout: timeout == .zero ? nil : timeout)
    }

    /// Finds the socket among attributes of which a later one is truncated.
    mutating func salvageSocket(in range: Range<Int>, of bytes: Span<UInt8>) {
        var end = range.upperBound
        while end > range.lowerBound {
            end -= 1
            do throws(WireError) {
                for attribute in try NetlinkAttribute.all(in: range.lowerBound..<end, of: bytes)
                where attribute.type == HandshakeFamily.AcceptAttribute.socket.rawValue {
                    let number = try attribute.signed32("socket", in: bytes)
                    if number >= 0 { socket = number }
                }
                return
            } catch {
                continue
            }
        }
    }

    private mutating func takeCertificate(_ nest: NetlinkAttribute, from bytes: Span<UInt8>) throws(WireError) {
        var inside: Set<UInt16> = []
        for attribute in try NetlinkAttribute.all(in: nest.value, of: bytes) {
            guard let kind = HandshakeFamily.CertificateAttribute(rawValue: attribute.type) else { continue }
            guard inside.insert(attribute.type).inserted else {
                throw .duplicate(field: "\(kind)", offset: attribute.value.lowerBound)
            }
            switch kind {
            case .certificate: certificate = try Self.serial(attribute, "certificate", in: bytes)
            case .privateKey: privateKey = try Self.serial(attribute, "private key", in: bytes)
            }
        }
    }

    private static func serial(
        _ attribute: NetlinkAttribute, _ field: String, in bytes: Span<UInt8>
    ) throws(WireError) -> KeySerial? {
        let number = try attribute.signed32(field, in: bytes)
        // Negative serials denote the caller's own keyrings, never a key of a consumer.
        guard number >= 0 else { throw .outOfRange(field: field, offset: attribute.value.lowerBound) }
        return KeySerial(number)
    }

    private static func enumeration<Value: RawRepresentable>(
        _ attribute: NetlinkAttribute, _ field: String, in bytes: Span<UInt8>
    ) throws(WireError) -> Value where Value.RawValue == UInt8 {
        let raw = try attribute.unsigned32(field, in: bytes)
        guard let small = UInt8(exactly: raw), let value = Value(rawValue: small) else {
            throw .unknownValue(field: field, value: UInt64(raw), offset: attribute.value.lowerBound)
        }
        return value
    }
}

/// Requests to the kernel's handshake family.
package enum HandshakeCommand: Sendable, Equatable {
    /// ACCEPT: takes the next request.
    case accept
    /// DONE: the result for the socket with this descriptor. The identity is the peer's, if it was authenticated.
    case done(socket: Int32, status: Status, remoteIdentity: KeySerial?, tags: [String] = [])

    /// Writes the complete netlink message.
    ///
    /// - Parameters:
    ///   - family: the family ID that the kernel assigned.
    ///   - sequence: the sequence number that the reply repeats.
    /// - Returns: The length of the message.
    package func encode(
        family: UInt16, sequence: UInt32, to bytes: inout MutableSpan<UInt8>
    ) throws(WireError) -> Int {
        var writer = ByteWriter("netlink request")
        try writer.hostUnsigned32(UInt32(length), to: &bytes)
        try writer.hostUnsigned16(family, to: &bytes)
        // ACCEPT has a reply; an acknowledgement would be an additional message.
        let acknowledge: UInt16 = self == .accept ? 0 : NetlinkNumber.acknowledge
        try writer.hostUnsigned16(NetlinkNumber.request | acknowledge, to: &bytes)
        try writer.hostUnsigned32(sequence, to: &bytes)
        try writer.hostUnsigned32(0, to: &bytes)
        try writer.unsigned8((self == .accept ? HandshakeFamily.Command.accept : .done).rawValue, to: &bytes)
        try writer.unsigned8(HandshakeFamily.version, to: &bytes)
        try writer.hostUnsigned16(0, to: &bytes)
        for (type, value) in attributes {
            try writer.hostUnsigned16(UInt16(NetlinkNumber.attributeHeader + 4), to: &bytes)
            try writer.hostUnsigned16(type, to: &bytes)
            try writer.hostUnsigned32(value, to: &bytes)
        }
        for tag in tags {
            let value = Array(tag.utf8) + [0]
            try writer.hostUnsigned16(UInt16(clamping: NetlinkNumber.attributeHeader + value.count), to: &bytes)
            try writer.hostUnsigned16(HandshakeFamily.DoneAttribute.tag.rawValue, to: &bytes)
            for byte in value + [UInt8](repeating: 0, count: -value.count & 3) {
                try writer.unsigned8(byte, to: &bytes)
            }
        }
        return writer.offset
    }

    /// Length of the complete message in bytes.
    package var length: Int {
        NetlinkNumber.messageHeader + NetlinkNumber.genericHeader
            + attributes.count * (NetlinkNumber.attributeHeader + 4)
            + tags.reduce(0) { $0 + NetlinkNumber.attributeHeader + ($1.utf8.count + 4) & ~3 }
    }

    private var tags: [String] {
        switch self {
        case .accept: []
        case .done(_, _, _, let tags): tags
        }
    }

    private var attributes: [(UInt16, UInt32)] {
        switch self {
        case .accept:
            return [(HandshakeFamily.AcceptAttribute.handlerClass.rawValue, HandshakeFamily.handlerClass)]
        case .done(let socket, let status, let remoteIdentity, _):
            var list: [(UInt16, UInt32)] = [
                (HandshakeFamily.DoneAttribute.status.rawValue, status.rawValue),
                (HandshakeFamily.DoneAttribute.socket.rawValue, UInt32(bitPattern: socket)),
            ]
            if let remoteIdentity {
                list.append(
                    (HandshakeFamily.DoneAttribute.remoteIdentity.rawValue, UInt32(bitPattern: remoteIdentity.number)))
            }
            return list
        }
    }
}

/// The kernel's description of the attributes that a command of a generic-netlink family accepts: CTRL_CMD_GETPOLICY,
/// since Linux 5.7 (include/uapi/linux/genetlink.h, net/netlink/policy.c).
package struct NetlinkPolicy: Sendable, Equatable {
    /// GENL_ID_CTRL, the family that answers.
    package static let controller: UInt16 = 16
    /// NLM_F_DUMP.
    private static let dump: UInt16 = 0x300
    private static let getPolicy: UInt8 = 10
    private static let familyAttribute: UInt16 = 1
    private static let policyAttribute: UInt16 = 8
    private static let operationPolicyAttribute: UInt16 = 9
    private static let operationAttribute: UInt16 = 10
    private static let doPolicy: UInt16 = 1
    private static let typeOfAttribute: UInt16 = 1

    /// NL_ATTR_TYPE_STRING and NL_ATTR_TYPE_NUL_STRING.
    private static let texts: Set<UInt32> = [11, 12]

    private let command: UInt16
    /// Index of the command's policy.
    private var index: UInt16?
    /// Type of each attribute, by policy.
    private var types: [UInt16: [UInt16: UInt32]] = [:]

    package init(ofCommand command: UInt8) {
        self.command = UInt16(command)
    }

    /// Writes the request for the policy of a family's command.
    package func encodeQuestion(
        family: UInt16, sequence: UInt32, to bytes: inout MutableSpan<UInt8>
    ) throws(WireError) -> Int {
        var writer = ByteWriter("policy request")
        try writer.hostUnsigned32(36, to: &bytes)
        try writer.hostUnsigned16(Self.controller, to: &bytes)
        try writer.hostUnsigned16(NetlinkNumber.request | Self.dump, to: &bytes)
        try writer.hostUnsigned32(sequence, to: &bytes)
        try writer.hostUnsigned32(0, to: &bytes)
        try writer.unsigned8(Self.getPolicy, to: &bytes)
        try writer.unsigned8(1, to: &bytes)
        try writer.hostUnsigned16(0, to: &bytes)
        try writer.hostUnsigned16(6, to: &bytes)
        try writer.hostUnsigned16(Self.familyAttribute, to: &bytes)
        try writer.hostUnsigned16(family, to: &bytes)
        try writer.hostUnsigned16(0, to: &bytes)
        try writer.hostUnsigned16(8, to: &bytes)
        try writer.hostUnsigned16(Self.operationAttribute, to: &bytes)
        try writer.hostUnsigned32(UInt32(command), to: &bytes)
        return writer.offset
    }

    /// Parses one message of the answer.
    package mutating func add(_ message: NetlinkMessage, in bytes: Span<UInt8>) throws(WireError) {
        let generic = try GenericNetlinkMessage(from: message, in: bytes)
        for attribute in try NetlinkAttribute.all(in: generic.attributes, of: bytes) {
            switch attribute.type {
            case Self.operationPolicyAttribute:
                for operation in try NetlinkAttribute.all(in: attribute.value, of: bytes)
                where operation.type == command {
                    for part in try NetlinkAttribute.all(in: operation.value, of: bytes)
                    where part.type == Self.doPolicy {
                        index = UInt16(truncatingIfNeeded: try part.unsigned32("policy", in: bytes))
                    }
                }
            case Self.policyAttribute:
                for policy in try NetlinkAttribute.all(in: attribute.value, of: bytes) {
                    for described in try NetlinkAttribute.all(in: policy.value, of: bytes) {
                        try add(described, of: policy.type, in: bytes)
                    }
                }
            default: break
            }
        }
    }

    private mutating func add(
        _ described: NetlinkAttribute, of policy: UInt16, in bytes: Span<UInt8>
    ) throws(WireError) {
        for part in try NetlinkAttribute.all(in: described.value, of: bytes) where part.type == Self.typeOfAttribute {
            types[policy, default: [:]][described.type] = try part.unsigned32("type", in: bytes)
        }
    }

    /// Returns `true` if the command accepts an attribute as text.
    package func takesText(_ attribute: UInt16) -> Bool {
        index.flatMap { types[$0]?[attribute] }.map(Self.texts.contains) ?? false
    }
}
