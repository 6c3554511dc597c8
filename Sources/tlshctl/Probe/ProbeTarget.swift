internal import ArgumentParser

/// Target of a probe: `nfs://HOST[:PORT]`, `nvme://HOST[:PORT]` or `tls://HOST:PORT`.
struct ProbeTarget: ExpressibleByArgument, Sendable, Equatable {
    enum Scheme: String, Sendable, CaseIterable {
        case nfs
        case nvme
        case tls

        var port: UInt16? {
            switch self {
            case .nfs: 2049
            // Port for I/O; discovery uses 8009.
            case .nvme: 4420
            case .tls: nil
            }
        }
    }

    let scheme: Scheme
    /// A name, or an address without brackets; an IPv6 address may have a zone.
    let host: String
    let port: UInt16

    init?(argument: String) {
        guard let separator = argument.firstRange(of: "://"),
            let scheme = Scheme(rawValue: argument[..<separator.lowerBound].lowercased())
        else { return nil }
        var rest = argument[separator.upperBound...]
        if rest.hasSuffix("/") { rest = rest.dropLast() }
        guard !rest.contains("/"), let (host, port) = Self.split(rest) else { return nil }
        guard let number = port.isEmpty ? scheme.port : Self.number(port) else { return nil }
        self.scheme = scheme
        self.host = host
        self.port = number
    }

    /// Splits `HOST`, `HOST:PORT`, `[ADDRESS]`, `[ADDRESS]:PORT`, or a plain IPv6 address.
    private static func split(_ text: Substring) -> (host: String, port: Substring)? {
        var host = text
        var port = Substring()
        if text.hasPrefix("[") {
            guard let close = text.firstIndex(of: "]") else { return nil }
            host = text[text.index(after: text.startIndex)..<close]
            let rest = text[text.index(after: close)...]
            guard rest.isEmpty || rest.hasPrefix(":") && rest.count > 1 else { return nil }
            port = rest.dropFirst()
        } else if let colon = text.firstIndex(of: ":"), text[text.index(after: colon)...].firstIndex(of: ":") == nil {
            host = text[..<colon]
            port = text[text.index(after: colon)...]
            guard !port.isEmpty else { return nil }
        }
        let isName = !host.isEmpty && host.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F }
        return isName ? (String(host), port) : nil
    }

    private static func number(_ text: Substring) -> UInt16? {
        UInt16(text).flatMap { $0 > 0 && String($0) == text ? $0 : nil }
    }

    var defaultValueDescription: String {
        "\(scheme.rawValue)://\(host.contains(":") ? "[\(host)]" : host):\(port)"
    }
}
