import Testing
import Wire

@Suite("What no older revocation list takes the place of")
struct RevocationFloorTests {
    private static func floor(_ number: [UInt8], _ date: Int64, issuer: UInt8 = 1) -> RevocationFloor {
        RevocationFloor(issuer: [UInt8](repeating: issuer, count: 32), number: number, thisUpdate: date)
    }

    @Test(
        "a smaller number or an earlier date is older; of those without a number the date decides",
        arguments: [
            ([1], 5, [2], 5, true), ([2], 5, [1], 5, false), ([255], 5, [1, 0], 5, true), ([1, 0], 5, [255], 5, false),
            ([2], 4, [1], 5, true), ([1], 5, [1], 5, false), ([], 4, [1], 5, true), ([], 5, [1], 5, false),
            ([1], 6, [2], 5, true),
        ] as [([UInt8], Int64, [UInt8], Int64, Bool)])
    func order(_ number: [UInt8], _ date: Int64, _ otherNumber: [UInt8], _ otherDate: Int64, _ isOlder: Bool) {
        #expect(Self.floor(number, date).isOlder(than: Self.floor(otherNumber, otherDate)) == isOlder)
    }

    @Test("the newest of each issuer stays, and there are not more than a message holds")
    func raising() {
        var floors: [RevocationFloor] = []
        for floor in [Self.floor([2], 5), Self.floor([1], 5), Self.floor([9], 1, issuer: 2), Self.floor([3], 6)] {
            floor.raise(&floors)
        }
        #expect(floors == [Self.floor([3], 6), Self.floor([9], 1, issuer: 2)])
        for issuer in 0...RevocationFloor.most {
            RevocationFloor(issuer: [UInt8(issuer >> 8), UInt8(issuer & 255)], number: [], thisUpdate: 0).raise(&floors)
        }
        #expect(floors.count == RevocationFloor.most)
    }
}
