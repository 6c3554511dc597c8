/// A line of a PSK file is invalid.
package enum PSKFileProblem: Equatable, Sendable {
    case missingColon
    case emptyIdentity
    case blankAroundIdentity
    case identityNotHex
    case oddIdentityHex
    case nulInIdentity
    case identityTooLong
    case duplicateIdentity(firstLine: Int)
    case emptyKey
    case keyNotHex
    case oddKeyHex
    case keyTooShort
    case keyTooLong
    case interchangeFormat
    case nvmeHash
    case nvmeKeyLength(expected: Int)
    /// The bytes to decode a key from are not those that were parsed, or the buffer has the wrong length.
    case keyBuffer

    package var what: String {
        switch self {
        case .missingColon: "the line has no colon"
        case .emptyIdentity: "there is no identity before the colon"
        case .blankAroundIdentity: "the identity begins or ends with a blank"
        case .identityNotHex: "the line begins with #, but no identity in hexadecimal digits follows"
        case .oddIdentityHex: "the identity after the # has an odd number of hexadecimal digits"
        case .nulInIdentity: "the identity contains a NUL byte"
        case .identityTooLong: "the identity is longer than \(PSKFile.longestIdentity) bytes"
        case .duplicateIdentity(let firstLine): "line \(firstLine) has the same identity"
        case .emptyKey: "there is no key after the last colon"
        case .keyNotHex: "the key after the last colon contains a character that is not a hexadecimal digit"
        case .oddKeyHex: "the key has an odd number of hexadecimal digits"
        case .keyTooShort: "the key is shorter than \(PSKFile.shortestKey) bytes"
        case .keyTooLong: "the key is longer than \(PSKFile.longestKey) bytes"
        case .interchangeFormat: "the key is an NVMe interchange key (NVMeTLSkey-1), which TLS cannot use as it is"
        case .nvmeHash: "the NVMe identity names a hash other than 01 (SHA-256) and 02 (SHA-384)"
        case .nvmeKeyLength(let expected):
            "the key is not \(expected) bytes long, as the hash of this NVMe identity requires"
        case .keyBuffer: "the key cannot be decoded, as the bytes or the buffer do not fit the entry"
        }
    }

    package var remedy: String {
        switch self {
        case .missingColon: "write identity:key, the key in hexadecimal digits, or begin a comment with # and a blank"
        case .emptyIdentity: "write the identity that the peer uses before the colon"
        case .blankAroundIdentity: "remove the blank, or write # and the identity in hexadecimal digits"
        case .identityNotHex: "write a blank after the # of a comment"
        case .oddIdentityHex, .oddKeyHex: "check if the line was truncated, and rewrite it"
        case .nulInIdentity: "write an identity without NUL bytes, as the kernel's keys cannot have them"
        case .identityTooLong: "write a shorter identity, as the kernel's keys cannot have a longer one"
        case .duplicateIdentity: "remove one of the two lines"
        case .emptyKey, .keyNotHex: "write the key after the last colon in the digits 0 to 9 and a to f"
        case .keyTooShort, .keyTooLong: "make a key of 32 bytes with psktool --keysize=32"
        case .interchangeFormat:
            "write the TLS PSK that nvme-cli derives from it, in hexadecimal digits, or import it with nvme-cli"
        case .nvmeHash: "write the identity as nvme-cli derives it, with 01 or 02"
        case .nvmeKeyLength: "write the TLS PSK that nvme-cli derives for this identity, or correct the identity's hash"
        case .keyBuffer: "read and parse the file again"
        }
    }
}
