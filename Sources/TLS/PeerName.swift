internal import CLinux
internal import Glibc

/// The name or address that a peer's certificate must carry, as the kernel consumer gave it.
package enum PeerName: Sendable, Equatable {
    case dns(String)
    /// 4 or 16 bytes.
    case address([UInt8])

    /// Brackets around an IPv6 address, its zone and the dot that ends a fully qualified name say where the peer is, not who:
    /// certificates carry none of them.
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

    /// The usual text of an address, such as `192.0.2.1` or `2001:db8::1`; `nil` for a wrong number of bytes.
    static func text(ofAddress bytes: [UInt8]) -> String? {
        guard bytes.count == 4 || bytes.count == 16 else { return nil }
        var buffer = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
        let family = bytes.count == 4 ? AF_INET : AF_INET6
        let capacity = socklen_t(buffer.count)
        let isDone = unsafe bytes.withUnsafeBytes { raw in
            unsafe inet_ntop(family, raw.baseAddress, &buffer, capacity) != nil
        }
        guard isDone else { return nil }
        return String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
