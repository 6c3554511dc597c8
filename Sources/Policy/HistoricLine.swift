/// Result lines in ktls-utils' format, for scripts that parse them. The raw value is the ktls-utils release in the
/// settings.
package enum HistoricLine: String, Sendable, CaseIterable {
    /// Format of releases before 1.2.0.
    case until11 = "1.1"
    /// Format of releases since 1.2.0.
    case since12 = "1.2"

    /// Line for a malformed request.
    package static let refused = "Handshake request failed"

    /// - Parameter peer: if the kernel gives no name, the address takes its place; ktls-utils would ask DNS.
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
