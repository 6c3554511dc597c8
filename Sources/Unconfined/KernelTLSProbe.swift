internal import CLinux
internal import Glibc
package import Handshake
package import System

/// Determines the capabilities of this kernel's TLS by trying them, on loopback connections with all-zero keys, once at
/// start.
package struct KernelTLSProbe: Sendable, Equatable {
    package let capabilities: KernelTLSCapabilities
    /// Missing features and the kernel options that provide them, for the log; empty if nothing relevant is missing.
    package let problems: [String]

    /// TLS_1_3_VERSION (include/uapi/linux/tls.h).
    private static let version13: UInt16 = 0x0304

    /// Tries each cipher on a new connection, because keys cannot be removed.
    ///
    /// - Throws: If no loopback connection can be made. The capabilities are then unknown.
    package static func run() throws(SystemError) -> KernelTLSProbe {
        var ciphers: Set<KernelCipher> = []
        var problems: [String] = []
        var limits = false
        var rekeys = false
        for cipher in KernelCipher.allCases {
            let connection = try LoopbackConnection()
            guard attach(connection.client.number) == 0 else {
                return without(TLS: errno)
            }
            limits = limits || limitPayload(connection.client.number)
            if let problem = install(cipher, on: connection.client.number) {
                problems.append(problem)
            } else {
                ciphers.insert(cipher)
                // Installs keys again; kernels without rekeying refuse that with EBUSY.
                rekeys = rekeys || install(cipher, on: connection.client.number) == nil
            }
        }
        return KernelTLSProbe(
            capabilities: KernelTLSCapabilities(ciphers: ciphers, limitsTransmitPayload: limits, rekeys: rekeys),
            problems: problems)
    }

    private static func without(TLS number: Int32) -> KernelTLSProbe {
        let problem =
            number == ENOENT
            ? "the kernel has no TLS: the module tls is missing and could not be loaded (CONFIG_TLS)"
            : SystemError("setsockopt TCP_ULP", number).description
        return KernelTLSProbe(
            capabilities: KernelTLSCapabilities(ciphers: [], limitsTransmitPayload: false), problems: [problem])
    }

    private static func attach(_ socket: Int32) -> Int32 {
        let name = Array("tls".utf8)
        return unsafe setsockopt(socket, Int32(IPPROTO_TCP), TCP_ULP, name, socklen_t(name.count))
    }

    private static func limitPayload(_ socket: Int32) -> Bool {
        var limit: UInt16 = 16_384
        return unsafe setsockopt(socket, SOL_TLS, TLS_TX_MAX_PAYLOAD_LEN, &limit, 2) == 0
    }

    /// - Returns: The missing feature; `nil` if both directions accepted the keys.
    private static func install(_ cipher: KernelCipher, on socket: Int32) -> String? {
        var information = [UInt8](repeating: 0, count: cipher.informationSize)
        // struct tls_crypto_info: version and cipher in host byte order, followed by IV, key, salt and record number.
        let header = [version13, cipher.rawValue].flatMap { [UInt8(truncatingIfNeeded: $0), UInt8($0 >> 8)] }
        let isBigEndian = UInt16(1).bigEndian == 1
        for (index, byte) in header.enumerated() { information[isBigEndian ? index ^ 1 : index] = byte }
        for (direction, name) in [(TLS_TX, "TLS_TX"), (TLS_RX, "TLS_RX")] {
            let size = socklen_t(information.count)
            guard unsafe setsockopt(socket, SOL_TLS, direction, information, size) == 0 else {
                let error = SystemError.last("setsockopt", name)
                return "the kernel's TLS lacks \(cipher.title) (\(cipher.option)): \(error.description)"
            }
        }
        return nil
    }
}

extension KernelCipher {
    /// Bytes of its struct tls12_crypto_info_* (include/uapi/linux/tls.h).
    fileprivate var informationSize: Int {
        switch self {
        case .aes128GCM, .aes128CCM: 40
        case .aes256GCM, .chacha20Poly1305: 56
        }
    }

    fileprivate var title: String {
        switch self {
        case .aes128GCM: "AES-128-GCM"
        case .aes256GCM: "AES-256-GCM"
        case .aes128CCM: "AES-128-CCM"
        case .chacha20Poly1305: "ChaCha20-Poly1305"
        }
    }

    /// Kernel option that provides the cipher.
    fileprivate var option: String {
        switch self {
        case .aes128GCM, .aes256GCM: "CONFIG_CRYPTO_GCM"
        case .aes128CCM: "CONFIG_CRYPTO_CCM"
        case .chacha20Poly1305: "CONFIG_CRYPTO_CHACHA20POLY1305"
        }
    }
}

/// An established TCP connection between two sockets of this process, over the IPv4 loopback address, or IPv6 if that
/// fails.
struct LoopbackConnection: ~Copyable {
    let client: OwnedDescriptor
    let server: OwnedDescriptor

    init() throws(SystemError) {
        do throws(SystemError) {
            try self.init(AF_INET)
        } catch {
            try self.init(AF_INET6)
        }
    }

    init(_ family: Int32) throws(SystemError) {
        let listener = try Self.socket(family)
        var address = Self.address(family)
        var length =
            family == AF_INET ? socklen_t(MemoryLayout<sockaddr_in>.size) : socklen_t(MemoryLayout<sockaddr_in6>.size)
        // A sockaddr_storage has room and alignment for the addresses of both families.
        let bound = unsafe withUnsafeMutablePointer(to: &address) { storage in
            unsafe storage.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
                unsafe bind(listener.number, generic, length) == 0 && listen(listener.number, 1) == 0
                    && getsockname(listener.number, generic, &length) == 0
            }
        }
        guard bound else { throw .last("bind", "to the loopback address") }
        let near = try Self.socket(family)
        let connected = unsafe withUnsafePointer(to: &address) { storage in
            unsafe storage.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
                retrying { unsafe connect(near.number, generic, length) }
            }
        }
        guard connected == 0 else { throw .last("connect", "to the loopback address; is the interface lo up?") }
        let far = retrying { accept(listener.number, nil, nil) }
        guard far >= 0 else { throw .last("accept", "from the loopback address") }
        client = near
        server = OwnedDescriptor(adopting: far)
        _ = fcntl(far, F_SETFD, FD_CLOEXEC)
    }

    private static func socket(_ family: Int32) throws(SystemError) -> OwnedDescriptor {
        let number = Glibc.socket(family, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard number >= 0 else { throw .last("socket") }
        return OwnedDescriptor(adopting: number)
    }

    private static func address(_ family: Int32) -> sockaddr_storage {
        var storage = sockaddr_storage()
        // Both address types fit into the storage and begin with the family.
        unsafe withUnsafeMutableBytes(of: &storage) { raw in
            if family == AF_INET {
                var address = sockaddr_in()
                address.sin_family = sa_family_t(AF_INET)
                address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
                unsafe raw.storeBytes(of: address, as: sockaddr_in.self)
            } else {
                var address = sockaddr_in6()
                address.sin6_family = sa_family_t(AF_INET6)
                address.sin6_addr = in6addr_loopback
                unsafe raw.storeBytes(of: address, as: sockaddr_in6.self)
            }
        }
        return storage
    }
}
