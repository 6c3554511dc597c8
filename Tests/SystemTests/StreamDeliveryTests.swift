import Glibc
import Handshake
import System
import TestSupport
import Testing

@testable import Unconfined

@Suite("The delivery of a connection's data")
struct StreamDeliveryTests {
    private func failure(
        _ unacknowledged: Int = 0, _ retransmissions: Int = 0, outOfOrder: Int = 0, isAnswered: Bool = true
    ) -> HandshakeFailure {
        StreamDelivery(unacknowledged: unacknowledged, retransmissions: retransmissions, outOfOrder: outOfOrder)
            .explainTimeout(isAnswered: isAnswered)
    }

    @Test(
        "a flight that is not acknowledged however often it is sent, and a missing packet before others, is a hole in the path"
    )
    func lost() {
        let flight = failure(2345, 4)
        #expect(flight.reason == .largePacketsLost)
        #expect(flight.detail == "2345 bytes are not acknowledged after 4 retransmissions")
        #expect(failure(outOfOrder: 1) == HandshakeFailure(.largePacketsLost, "1 packet arrived after a missing one"))
        #expect(failure(31, outOfOrder: 2, isAnswered: false).detail == "2 packets arrived after a missing one")
    }

    @Test(
        "bytes that fit each path, or were sent once, prove nothing; a peer that sent nothing may be behind such a hole"
    )
    func unknown() {
        for (unacknowledged, retransmissions) in [(0, 0), (1220, 9), (2345, 1)] {
            #expect(failure(unacknowledged, retransmissions) == HandshakeFailure(.deadlineExceeded))
        }
        let silent = failure(isAnswered: false)
        #expect(silent.reason == .deadlineExceeded)
        #expect(silent.detail.contains("large packets seem to be lost on the way (MTU)"))
    }
}
