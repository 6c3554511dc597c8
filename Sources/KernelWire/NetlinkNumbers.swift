/// The numbers of netlink and of the generic-netlink family `handshake` (include/uapi/linux/netlink.h, handshake.h).
/// Build hosts before Linux 6.4 have no header for the family.
package enum NetlinkNumber {
    /// Bytes of struct nlmsghdr: length u32, type u16, flags u16, sequence u32, port u32.
    package static let messageHeader = 16
    /// Bytes of struct genlmsghdr: command u8, version u8, reserved u16.
    package static let genericHeader = 4
    /// Bytes of struct nlattr: length u16, type u16.
    package static let attributeHeader = 4

    /// NLMSG_ERROR: an error, or an acknowledgement if the number is 0.
    package static let error: UInt16 = 2
    /// NLMSG_DONE: the end of a dump.
    package static let done: UInt16 = 3
    /// NLMSG_OVERRUN: data was lost.
    package static let overrun: UInt16 = 4

    /// NLM_F_REQUEST.
    package static let request: UInt16 = 0x01
    /// NLM_F_ACK: requests an acknowledgement of success.
    package static let acknowledge: UInt16 = 0x04
    /// NLM_F_CAPPED in an error: the request's payload is not repeated.
    package static let capped: UInt16 = 0x100
    /// NLM_F_ACK_TLVS in an error: attributes that explain it follow.
    package static let explained: UInt16 = 0x200

    /// Mask for the number of an attribute: without NLA_F_NESTED and NLA_F_NET_BYTEORDER.
    package static let typeMask: UInt16 = 0x3fff
    /// NLMSGERR_ATTR_MSG: the extended error text.
    package static let errorText: UInt16 = 1
}

/// The family `handshake`: name, version, and multicast group (include/uapi/linux/handshake.h).
package enum HandshakeFamily {
    package static let name = "handshake"
    package static let version: UInt8 = 1
    /// Multicast group of READY notifications.
    package static let group = "tlshd"
    /// HANDSHAKE_HANDLER_CLASS_TLSHD.
    package static let handlerClass: UInt32 = 1

    package enum Command: UInt8, Sendable, Equatable {
        /// Kernel to group: a request is pending.
        case ready = 1
        /// Takes the next request.
        case accept = 2
        /// Reports the result.
        case done = 3
    }

    /// Attributes of READY and ACCEPT.
    package enum AcceptAttribute: UInt16, Sendable, Equatable {
        /// s32; u32 when the family was first merged.
        case socket = 1
        /// u32.
        case handlerClass = 2
        /// u32: 1 for client, 2 for server.
        case messageType = 3
        /// u32, milliseconds from the consumer's request.
        case timeout = 4
        /// u32: 1 anonymous, 2 PSK, 3 x509.
        case authentication = 5
        /// u32, serial of a key; repeated for several identities, not nested.
        case peerIdentity = 6
        /// A nest of `CertificateAttribute`.
        case certificate = 7
        /// Text with its NUL; since Linux 6.5.
        case peerName = 8
        /// u32, serial of a keyring; since Linux 6.17.
        case keyring = 9
        /// u32, maximum number of session tags in DONE; in no released kernel yet.
        case mostTags = 10
    }

    /// Attributes in `AcceptAttribute.certificate`; s32, 0 for none.
    package enum CertificateAttribute: UInt16, Sendable, Equatable {
        case certificate = 1
        case privateKey = 2
    }

    /// Maximum number of session tags in DONE if the kernel does not state it.
    package static let mostTags = 64
    /// Maximum length of a session tag in bytes without its NUL.
    package static let longestTag = 255

    /// Attributes of DONE.
    package enum DoneAttribute: UInt16, Sendable, Equatable {
        /// u32, a positive errno up to 4095. Never omitted, because old kernels report a positive number without it.
        case status = 1
        /// s32.
        case socket = 2
        /// u32, serial of a key.
        case remoteIdentity = 3
        /// Text with its NUL, a session tag; repeated for several tags. In no released kernel yet; the number is that
        /// of ktls-utils.
        case tag = 4
    }
}
