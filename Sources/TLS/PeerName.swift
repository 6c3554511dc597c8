internal import CLinux
internal import Glibc

/// The name or address that a peer's certificate must carry, as the kernel consumer gave it.
package enum PeerName: Sendable, Equatable {
    case dns(String)
    /// 4 or 16 bytes.
    case address([UInt8])

    /// Brackets around an IPv6 address, its zone and the dot that ends a fully qualified name say where the peer is,
    /// not who: certificates carry none of them.
    package init(_ text: String) {
        var bare = Substring(text)
        if bare.hasPrefix("["), bare.hasSuffix("]") { bare = bare.dropFirst().dropLast() }
        let literal = bare.firstIndex(of: "%").map { bare[..<$0] } ?? bare
        if let bytes = Self.parse(String(literal), AF_INET, 4) ?? Self.parse(String(literal), AF_INET6, 16) {
            self = .address(bytes)
        } else {
            if bare.hasSuffix("."), bare.count > 1 { bare = bare.dropLast() }
            self = .dns(String(bare))
        }
    }

    /// What the client tells the server as its name (RFC 6066 §3: never an address).
    var serverName: String? {
        switch self {
        case .dns(let name): name
        case .address: nil
        }
    }

    private static func parse(_ text: String, _ family: Int32, _ count: Int) -> [UInt8]? {
        var bytes = [UInt8](repeating: 0, count: count)
        let result = unsafe bytes.withUnsafeMutableBytes { unsafe inet_pton(family, text, $0.baseAddress) }
        return result == 1 ? bytes : nil
    }
}
