/// The lines by which ktls-utils tells results, for scripts that look for them; the raw value is the release in the
/// settings.
package enum HistoricLine: String, Sendable, CaseIterable {
    /// As releases until 1.1.0 write them.
    case until11 = "1.1"
    /// As releases from 1.2.0 on write them.
    case since12 = "1.2"

    /// Of a request that could not be understood.
    package static let refused = "Handshake request failed"

    /// - Parameter peer: where the kernel gives no name, for which ktls-utils asks DNS, its address stands in the
    ///   name's place.
    package func text(succeeded: Bool, with peer: PeerAddress) -> String {
        let address = LogLine.printable(String(peer.address))
        let name = peer.name.flatMap { $0.isEmpty ? nil : LogLine.printable($0) } ?? address
        return switch (succeeded, self) {
        case (true, .until11): "Handshake with \(name) (\(address)) was successful"
        case (true, .since12): "Handshake with '\(name)' (\(address)) succeeded"
        case (false, _): "Handshake with '\(name)' (\(address)) failed"
        }
    }
}
