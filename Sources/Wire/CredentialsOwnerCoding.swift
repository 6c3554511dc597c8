package import Handshake

extension ProfileNumber: MessageFields {
    package mutating func code(_ coder: inout MessageCoder, in bytes: inout MutableSpan<UInt8>) throws(WireError) {
        var number = rawValue
        try coder.integer("profile", &number, in: &bytes)
        self = ProfileNumber(number)
    }
}

extension CredentialsOwner: MessageFields {
    package mutating func code(_ coder: inout MessageCoder, in bytes: inout MutableSpan<UInt8>) throws(WireError) {
        var profile = profile, role = role
        try profile.code(&coder, in: &bytes)
        try coder.choice("role", &role, in: &bytes)
        self = CredentialsOwner(profile, role)
    }
}
