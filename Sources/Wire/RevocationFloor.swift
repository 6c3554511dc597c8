/// The newest revocation list of an issuer that was in force: an older one is not taken in its place.
package struct RevocationFloor: Sendable, Equatable {
    /// SHA-256 of the issuer's name and key identifier.
    package let issuer: [UInt8]
    /// The CRL number, big-endian and without zeros in front; empty where the list has none.
    package let number: [UInt8]
    /// Seconds since 1970-01-01T00:00:00Z.
    package let thisUpdate: Int64

    package static let digestLength = 32
    /// RFC 5280 §5.2.3.
    package static let longestNumber = 20
    /// Maximum number in a message.
    package static let most = 255

    package init(issuer: [UInt8], number: [UInt8], thisUpdate: Int64) {
        self.issuer = issuer
        self.number = number
        self.thisUpdate = thisUpdate
    }

    /// Returns `true` if this list has an earlier date than the other, or a smaller number.
    package func isOlder(than other: RevocationFloor) -> Bool {
        if thisUpdate < other.thisUpdate { return true }
        guard !number.isEmpty, !other.number.isEmpty, number != other.number else { return false }
        guard number.count == other.number.count else { return number.count < other.number.count }
        return number.lexicographicallyPrecedes(other.number)
    }

    /// Takes the place of an older one of the same issuer, or goes behind the others; the first makes room.
    package func raise(_ floors: inout [RevocationFloor]) {
        guard let place = floors.firstIndex(where: { $0.issuer == issuer }) else {
            if floors.count == Self.most { floors.removeFirst() }
            floors.append(self)
            return
        }
        if floors[place].isOlder(than: self) { floors[place] = self }
    }
}

extension RevocationFloor {
    /// Lists the fields of all.
    static func code(
        _ floors: inout [RevocationFloor], _ coder: inout MessageCoder, in bytes: inout MutableSpan<UInt8>
    ) throws(WireError) {
        let blank = RevocationFloor(issuer: [], number: [], thisUpdate: 0)
        try coder.list("revocation floors", &floors, limit: most, blank: blank, in: &bytes) {
            (coder, floor, bytes) throws(WireError) in
            var issuer = floor.issuer, number = floor.number, thisUpdate = floor.thisUpdate
            let start = coder.offset
            try coder.bytes("issuer", &issuer, limit: digestLength, in: &bytes)
            try coder.require(issuer.count == digestLength, .outOfRange(field: "issuer", offset: start))
            try coder.bytes("CRL number", &number, limit: longestNumber, in: &bytes)
            try coder.integer("thisUpdate", &thisUpdate, in: &bytes)
            floor = RevocationFloor(issuer: issuer, number: number, thisUpdate: thisUpdate)
        }
    }
}
