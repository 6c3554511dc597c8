/// The name or address that a peer's certificate must carry, as the kernel consumer gave it.
package enum PeerName: Sendable, Hashable {
    case dns(String)
    case address(NetworkAddress)

    /// Brackets around an IPv6 address, its zone and the dot that ends a fully qualified name say where the peer is,
    /// not who: certificates carry none of them.
    package init(_ text: String) {
        var bare = Substring(text)
        if bare.hasPrefix("["), bare.hasSuffix("]") { bare = bare.dropFirst().dropLast() }
        if bare.hasSuffix("."), bare.count > 1 { bare = bare.dropLast() }
        self = NetworkAddress(String(bare)).map { .address($0) } ?? .dns(String(bare))
    }

    /// What the client tells the server as its name (RFC 6066 §3: never an address).
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
