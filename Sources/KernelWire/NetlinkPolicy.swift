package import Wire

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
