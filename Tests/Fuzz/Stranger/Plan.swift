package import Handshake

/// A handshake and what the stranger does to it, as the bytes of a fuzzer say. All bytes are a plan; those that are
/// missing are 0.
package struct Plan: Sendable {
    /// Role of the worker; the stranger has the other.
    package var role = Role.server
    package var authentication = Authentication.x509
    /// Bytes that are sent as they are, in place of a handshake.
    package var raw: [UInt8]?
    /// The worker keeps the secrets, and updates the keys.
    package var keeps = false
    /// As server: HelloRetryRequest. As client: no share of a key in the first hello.
    package var retries = false
    package var suite: UInt16 = 0x1301
    package var group = Group.all[0]
    package var ending = Ending.close
    /// The worker as a server gets the name that its client must have.
    package var namesClient = false
    package var certificate = Certificate.trusted
    /// Sizes of the key of `Certificate.rsa`, in bytes.
    package var modulus = 0
    package var exponent = 0
    package var usesWrongKey = false
    /// As server: asks for a certificate.
    package var asksForCertificate = false
    package var sendsChangeCipherSpec = false
    package var sendsCookie = false
    package var offersProtocol = false
    package var limitsRecords = false
    /// Sent after the handshake.
    package var tickets = 0
    package var updatesKey = false
    package var sendsData = false
    /// Sends what follows the handshake before the client's Finished has come.
    package var isEarly = false
    /// Bytes that are sent at once; 0 for all.
    package var portion = 0
    package var bends: [Bend] = []

    package enum Ending: UInt8, Sendable, CaseIterable {
        case close, reset, silence, cancel
    }

    package enum Certificate: UInt8, Sendable, CaseIterable {
        case none, trusted, trustedCurve
        /// Of a self-made authority.
        case stranger
        /// A trusted certificate with another's signature.
        case borrowed
        /// A self-made RSA certificate of any size, with a random signature.
        case rsa
        /// Many certificates.
        case chain
    }

    /// A group with the length of its shares.
    package struct Group: Sendable, Equatable {
        package let number: UInt16
        package let length: Int

        package static let all: [Group] = [
            Group(number: 0x001D, length: 32), Group(number: 0x0017, length: 65), Group(number: 0x0018, length: 97),
            Group(number: 0x0019, length: 133), Group(number: 0x001E, length: 56), Group(number: 0x0100, length: 256),
            Group(number: 0x0101, length: 384), Group(number: 0x0102, length: 512), Group(number: 0x0103, length: 768),
            Group(number: 0x0104, length: 1024),
        ]
    }

    /// A change of one message of the stranger's.
    package struct Bend: Sendable {
        package var kind: Kind
        /// Number of the message, from 0.
        package var message: Int
        package var offset: Int
        package var value: UInt8
        package var bytes: [UInt8] = []
        /// The transcript has the message as it was.
        package var isSecret = false
        /// The length in the header stays as it was.
        package var keepsLength = false

        package enum Kind: UInt8, Sendable, CaseIterable {
            case flip, insert, delete, cut, length, again, drop, fill
            /// Of the message's extensions.
            case addExtension, removeExtension, growExtension
            /// Of its records.
            case split, recordBefore, flipRecord
            case stop, end
        }
    }

    package init() {}

    package init(_ input: some Collection<UInt8>) {
        var bytes = ArraySlice(Array(input))
        func next() -> UInt8 { bytes.popFirst() ?? 0 }
        func next16() -> Int { Int(next()) << 8 | Int(next()) }
        func next(_ count: Int) -> [UInt8] {
            let part = Array(bytes.prefix(count))
            bytes = bytes.dropFirst(count)
            return part
        }
        let first = next()
        role = first & 1 == 0 ? .server : .client
        authentication = [.x509, .preSharedKey, .unauthenticated, .x509][Int(first >> 1 & 3)]
        keeps = first & 8 != 0
        retries = first & 16 != 0
        suite = 0x1301 + UInt16(first >> 5 & 3)
        let second = next()
        group = Group.all[Int(second & 15) % Group.all.count]
        ending = Ending.allCases[Int(second >> 4 & 3)]
        namesClient = second & 64 != 0
        usesWrongKey = second & 128 != 0
        let third = next()
        certificate = Certificate.allCases[Int(third & 7) % Certificate.allCases.count]
        tickets = Int(third >> 3 & 3)
        updatesKey = third & 32 != 0
        sendsData = third & 64 != 0
        isEarly = third & 128 != 0
        modulus = 16 * (Int(next()) + 1)
        exponent = 16 * Int(next())
        let flags = next()
        asksForCertificate = flags & 1 != 0
        sendsChangeCipherSpec = flags & 2 != 0
        sendsCookie = flags & 4 != 0
        offersProtocol = flags & 8 != 0
        limitsRecords = flags & 16 != 0
        portion = Int(next())
        if first & 128 != 0 {
            raw = Array(bytes)
            return
        }
        while let kind = bytes.popFirst(), bends.count < 32 {
            let kinds = Bend.Kind.allCases
            var bend = Bend(
                kind: kinds[Int(kind & 63) % kinds.count], message: Int(next() & 15), offset: next16(), value: next())
            bend.isSecret = kind & 128 != 0
            bend.keepsLength = kind & 64 != 0
            switch bend.kind {
            case .insert, .addExtension, .recordBefore: bend.bytes = next(Int(next()))
            default: break
            }
            bends.append(bend)
        }
    }

    /// The bytes of this plan, for seeds.
    package var bytes: [UInt8] {
        func bit(_ flag: Bool, _ value: UInt8) -> UInt8 { flag ? value : 0 }
        let modes: [Authentication] = [.x509, .preSharedKey, .unauthenticated]
        let mode = UInt8(modes.firstIndex(of: authentication) ?? 0)
        var bytes: [UInt8] = [
            bit(role == .client, 1) | mode << 1 | bit(keeps, 8) | bit(retries, 16) | UInt8(suite - 0x1301) << 5
                | bit(raw != nil, 128),
            UInt8(Group.all.firstIndex(of: group) ?? 0) | ending.rawValue << 4 | bit(namesClient, 64)
                | bit(usesWrongKey, 128),
            certificate.rawValue | UInt8(tickets) << 3 | bit(updatesKey, 32) | bit(sendsData, 64) | bit(isEarly, 128),
            UInt8(max(modulus / 16, 1) - 1), UInt8(exponent / 16),
            bit(asksForCertificate, 1) | bit(sendsChangeCipherSpec, 2) | bit(sendsCookie, 4) | bit(offersProtocol, 8)
                | bit(limitsRecords, 16),
            UInt8(portion),
        ]
        if let raw { return bytes + raw }
        for bend in bends {
            bytes += [
                bend.kind.rawValue | bit(bend.isSecret, 128) | bit(bend.keepsLength, 64), UInt8(bend.message),
                UInt8(bend.offset >> 8), UInt8(bend.offset & 255), bend.value,
            ]
            switch bend.kind {
            case .insert, .addExtension, .recordBefore: bytes += [UInt8(bend.bytes.count)] + bend.bytes
            default: break
            }
        }
        return bytes
    }
}
