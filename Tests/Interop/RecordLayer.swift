import CGnuTLS
import CLinux
import Glibc
import System
import TLSWire

/// TLS 1.3 records (RFC 8446 §5.2) by the bytes that the kernel's TLS would be given: it proves keys, IVs and numbers.
final class RecordLayer {
    private struct Keys {
        let cipher: gnutls_cipher_algorithm_t
        let key: [UInt8]
        let salted: [UInt8]
        var sequence: UInt64

        /// Reads crypto_info (include/uapi/linux/tls.h): header, iv, key, salt, sequence number.
        init(_ info: [UInt8]) {
            let type = UInt16(info[2]) | UInt16(info[3]) << 8
            let (cipher, iv, key, salt): (gnutls_cipher_algorithm_t, Int, Int, Int) =
                switch type {
                case 51: (GNUTLS_CIPHER_AES_128_GCM, 8, 16, 4)
                case 52: (GNUTLS_CIPHER_AES_256_GCM, 8, 32, 4)
                case 53: (GNUTLS_CIPHER_AES_128_CCM, 8, 16, 4)
                default: (GNUTLS_CIPHER_CHACHA20_POLY1305, 12, 32, 0)
                }
            precondition(info[0] == 0x04 && info[1] == 0x03 && info.count == 4 + iv + key + salt + 8)
            self.cipher = cipher
            let rest = Array(info.dropFirst(4))
            salted = Array(rest[(iv + key)..<(iv + key + salt)] + rest[..<iv])
            self.key = Array(rest[iv..<(iv + key)])
            sequence = rest.suffix(8).reduce(0) { $0 << 8 | UInt64($1) }
        }

        var nonce: [UInt8] {
            var nonce = salted
            for index in 0..<8 { nonce[11 - index] ^= UInt8(truncatingIfNeeded: sequence >> UInt64(8 * index)) }
            return nonce
        }
    }

    /// Called while it waits, for relays.
    var pump: (() -> Void)?

    private let socket: Int32
    private var transmit: Keys
    private var receive: Keys

    init(socket: Int32, transmit: [UInt8], receive: [UInt8]) {
        self.socket = socket
        self.transmit = Keys(transmit)
        self.receive = Keys(receive)
    }

    /// The number of the next record to receive.
    var nextReceived: UInt64 { receive.sequence }

    /// Sends text as one record of application data.
    func send(_ text: String) { send(Array(text.utf8), as: .applicationData) }

    /// Sends one record.
    func send(_ content: [UInt8], as type: TLSRecordHeader.ContentType) { send(inner: content + [type.rawValue]) }

    /// Sends one record with this content, type and padding.
    func send(inner: [UInt8]) {
        let length = inner.count + 16
        let header: [UInt8] = [23, 3, 3, UInt8(length >> 8), UInt8(length & 0xFF)]
        let record = header + run(transmit, header, inner, isSealing: true)
        transmit.sequence += 1
        let count = unsafe Glibc.send(socket, record, record.count, Int32(MSG_NOSIGNAL))
        precondition(count == record.count)
    }

    /// The next record's content type and content; `nil` at the end of the stream, or when it does not decrypt.
    func next(seconds: Int = 60) -> (type: UInt8, content: [UInt8])? {
        guard let header = read(5, seconds), header[0] == 23 else { return nil }
        guard let body = read(Int(header[3]) << 8 | Int(header[4]), seconds) else { return nil }
        var inner = run(receive, header, body, isSealing: false)
        guard !inner.isEmpty else { return nil }
        receive.sequence += 1
        while inner.last == 0 { inner.removeLast() }
        guard let type = inner.popLast() else { return nil }
        return (type, inner)
    }

    /// Application data until it holds `needle`; other records are passed over.
    func text(until needle: String, seconds: Int = 60) -> String {
        var text = ""
        while !text.contains(needle), let (type, content) = next(seconds: seconds) {
            if type == 23 { text += String(decoding: content, as: UTF8.self) }
        }
        return text
    }

    private func run(_ keys: Keys, _ header: [UInt8], _ input: [UInt8], isSealing: Bool) -> [UInt8] {
        var handle: gnutls_aead_cipher_hd_t?
        let initialized = unsafe keys.key.withUnsafeBytes { raw in
            var datum = unsafe gnutls_datum_t(
                data: UnsafeMutablePointer(mutating: raw.baseAddress?.assumingMemoryBound(to: UInt8.self)),
                size: UInt32(raw.count))
            return unsafe gnutls_aead_cipher_init(&handle, keys.cipher, &datum)
        }
        guard initialized >= 0, let handle = unsafe handle else { return [] }
        defer { unsafe gnutls_aead_cipher_deinit(handle) }
        var output = [UInt8](repeating: 0, count: input.count + 16)
        var count = output.count
        let nonce = keys.nonce
        let code =
            isSealing
            ? unsafe gnutls_aead_cipher_encrypt(
                handle, nonce, nonce.count, header, header.count, 16, input, input.count, &output, &count)
            : unsafe gnutls_aead_cipher_decrypt(
                handle, nonce, nonce.count, header, header.count, 16, input, input.count, &output, &count)
        return code >= 0 ? Array(output.prefix(count)) : []
    }

    private func read(_ wanted: Int, _ seconds: Int) -> [UInt8]? {
        var bytes: [UInt8] = []
        let end = Clock.deadline(in: .seconds(seconds))
        while bytes.count < wanted {
            pump?()
            var entry = pollfd(fd: socket, events: Int16(POLLIN), revents: 0)
            guard unsafe poll(&entry, 1, pump == nil ? 100 : 1) == 1 else {
                guard Clock.monotonicNanoseconds() < end else { return nil }
                continue
            }
            var part = [UInt8](repeating: 0, count: wanted - bytes.count)
            let count = unsafe recv(socket, &part, part.count, 0)
            guard count > 0 else { return nil }
            bytes += part.prefix(count)
        }
        return bytes
    }
}
