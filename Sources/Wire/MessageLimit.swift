internal import Handshake

/// Sizes that the messages between broker and worker keep to, in bytes unless said otherwise.
package enum MessageLimit {
    /// One message; below the kernel's default send buffer for unix sockets (net.core.wmem_default, 212,992).
    package static let message = 131_072
    /// A message of a few numbers.
    package static let short = 64
    /// Descriptors that one message may carry: trust store, revocation lists, and two for each pair of certificate and
    /// key.
    package static let descriptors = 2 + 2 * (2 + pairs)
    /// Pairs with a name, besides the one without and the post-quantum one.
    package static let pairs = 6
    /// A peer name: the longest DNS name, or an address with a zone.
    package static let peerName = 255
    /// A GnuTLS priority string.
    package static let priorities = 1024
    /// A PSK identity: `NVMe`, two NQNs of 223 bytes, a digest of 64, and blanks, with room.
    package static let identity = 1024
    package static let preSharedKey = 256
    /// A question for a PSK, or its answer.
    package static let keyMessage = 2048
    /// Number of PSKs; the kernel's limit (include/net/handshake.h, ta_my_peerids).
    package static let preSharedKeys = 5
    /// Number of connections whose secrets a worker keeps for key updates.
    package static let keptSessions = 1024
    /// Number of identities of one ClientHello that a worker may look up.
    package static let lookups = 16
    package static let certificate = 65_535
    package static let privateKey = 32_768
    /// A question to the signer; a longer one is refused before it is read.
    package static let signingQuestion = 128
    /// An answer of the signer.
    package static let signingAnswer = 8192
    /// A signature; those of ML-DSA-87 have 4,627 bytes.
    package static let signature = 5120
    /// A SubjectPublicKeyInfo; those of RSA with 16,384 bits have 2,102 bytes.
    package static let publicKey = 5120
    /// Keys and certificates that the signer opens for one role: several pairs of two.
    package static let signerParts = 40
    /// A pattern of a rule.
    static let rule = PeerRules.longestText
    /// A key-exchange group or cipher suite by name.
    static let name = 64
    /// A path or URL.
    package static let path = 4096
    /// Any text that is meant for a log line.
    package static let text = 1024
}
