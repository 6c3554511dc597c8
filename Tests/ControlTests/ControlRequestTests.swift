import Control
import Testing

@Suite struct ControlRequestTests {
    private static let requests: [ControlRequest] = [
        .status, .metrics, .handshakes(1), .handshakes(256), .handshakes(1_000_000),
    ]

    @Test("Each request reads back as it is written, in 64 bytes", arguments: requests)
    func roundTrip(request: ControlRequest) throws {
        #expect(try ControlRequest(parsing: Array(request.line.utf8)) == request)
        #expect(request.line.utf8.count <= ControlRequest.limit)
    }

    @Test("A request that is cut off anywhere is refused as unfinished", arguments: requests)
    func truncated(request: ControlRequest) {
        let bytes = Array(request.line.utf8)
        for length in bytes.indices {
            #expect(throws: ControlRequest.Refusal.unfinished) { try ControlRequest(parsing: bytes[..<length]) }
        }
    }

    @Test("With any bit turned a request is refused, or is another that is written just so", arguments: requests)
    func flipped(request: ControlRequest) {
        let bytes = Array(request.line.utf8)
        for position in bytes.indices {
            for bit in 0..<8 {
                var damaged = bytes
                damaged[position] ^= 1 << UInt8(bit)
                guard let read = try? ControlRequest(parsing: damaged) else { continue }
                #expect(read != request && Array(read.line.utf8) == damaged)
            }
        }
    }

    @Test(
        "What is no request is refused with the reason",
        arguments: [
            ("", ControlRequest.Refusal.unfinished), ("\n", .version), ("tlshd-control 2 status\n", .version),
            ("tlshd-control 1 reload\n", .unknown), ("tlshd-control 1 status \n", .unknown),
            ("tlshd-control 1 status\r\n", .unknown), ("tlshd-control 1 status\nstatus\n", .trailing),
            ("tlshd-control 1 handshakes \n", .number), ("tlshd-control 1 handshakes 0\n", .number),
            ("tlshd-control 1 handshakes -1\n", .number), ("tlshd-control 1 handshakes 1000001\n", .number),
            ("tlshd-control 1 handshakes 99999999999999999999\n", .number),
            ("tlshd-control 1 " + String(repeating: "s", count: 60) + "\n", .tooLong),
            (String(repeating: "x", count: 65), .tooLong),
        ])
    func refused(text: String, refusal: ControlRequest.Refusal) {
        #expect(throws: refusal) { try ControlRequest(parsing: Array(text.utf8)) }
    }

    @Test("A refusal is one line that begins as the protocol does", arguments: ControlRequest.Refusal.allCases)
    func refusals(refusal: ControlRequest.Refusal) {
        #expect(refusal.line.hasPrefix("tlshd-control 1 error ") && refusal.line.hasSuffix("\n"))
        #expect(refusal.line.filter { $0 == "\n" }.count == 1)
    }
}
