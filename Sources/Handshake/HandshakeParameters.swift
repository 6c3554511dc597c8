/// Name or address that a peer's certificate must contain, as the kernel consumer gave it.
package enum PeerName: Sendable, Hashable {
    case dns(String)
    case address(NetworkAddress)

    /// Removes brackets, zone and the final dot of a fully qualified name, which certificates do not contain.
    package init(_ text: String) {
        var bare = Substring(text)
        if bare.hasPrefix("["), bare.hasSuffix("]") { bare = bare.dropFirst().dropLast() }
        if bare.hasSuffix("."), bare.count > 1 { bare = bare.dropLast() }
        self = NetworkAddress(String(bare)).map { .address($0) } ?? .dns(String(bare))
    }

    /// Name for the server_name extension; `nil` for an address (RFC 6066 §3).
    package var serverName: String? {
        switch self {
        case .dns(let name): name
        case .address: nil
        }
    }
}

extension PeerName: CustomStringConvertible {
    package var description: String {
        switch self {
        case .dns(let name): name
        case .address(let address): address.description
        }
    }
}
