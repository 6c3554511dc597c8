internal import Handshake

extension ByteReader {
    mutating func credentialsOwner(in bytes: Span<UInt8>) throws(WireError) -> CredentialsOwner {
        CredentialsOwner(
            ProfileNumber(try unsigned16("profile", in: bytes)), try enumeration("role", in: bytes))
    }
}

extension ByteWriter {
    mutating func credentialsOwner(
        _ owner: CredentialsOwner, to bytes: inout MutableSpan<UInt8>
    ) throws(WireError) {
        try unsigned16(owner.profile.rawValue, to: &bytes)
        try unsigned8(owner.role.rawValue, to: &bytes)
    }
}
