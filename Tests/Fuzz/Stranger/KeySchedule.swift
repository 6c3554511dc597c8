internal import CStranger

/// The hash of a cipher suite of TLS 1.3, and what is computed with it (RFC 8446 §7.1).
struct SuiteHash {
    let isSHA384: Bool

    init(of suite: UInt16) { isSHA384 = suite == 0x1302 }

    var length: Int { isSHA384 ? 48 : 32 }
    var zeros: [UInt8] { [UInt8](repeating: 0, count: length) }

    func digest(_ bytes: [UInt8]) -> [UInt8] {
        var out = zeros
        unsafe cstranger_hash(isSHA384 ? 1 : 0, bytes, bytes.count, &out)
        return out
    }

    /// HMAC, which is HKDF-Extract too: the salt is the key.
    func code(_ key: [UInt8], _ bytes: [UInt8]) -> [UInt8] {
        var out = zeros
        unsafe cstranger_hmac(isSHA384 ? 1 : 0, key, key.count, bytes, bytes.count, &out)
        return out
    }

    /// HKDF-Expand-Label. No output of TLS 1.3 is longer than its hash.
    func expand(_ secret: [UInt8], _ label: String, _ context: [UInt8] = [], count: Int) -> [UInt8] {
        let name = Array("tls13 \(label)".utf8)
        let head = [UInt8(count >> 8), UInt8(count & 255), UInt8(name.count)] + name
        let info: [UInt8] = head + [UInt8(context.count)] + context + [1]
        return Array(code(secret, info).prefix(count))
    }

    /// Derive-Secret of a transcript.
    func derive(_ secret: [UInt8], _ label: String, _ transcript: [UInt8]) -> [UInt8] {
        expand(secret, label, digest(transcript), count: length)
    }

    /// The body of Finished.
    func finished(_ secret: [UInt8], _ transcript: [UInt8]) -> [UInt8] {
        code(expand(secret, "finished", count: length), digest(transcript))
    }
}

/// One direction's protection of records (RFC 8446 §5.2), and its key updates.
struct Protection {
    let suite: UInt16
    private(set) var secret: [UInt8]
    private(set) var key: [UInt8]
    private(set) var initial: [UInt8]
    private(set) var sequence: UInt64 = 0

    init(_ suite: UInt16, _ secret: [UInt8]) {
        self.suite = suite
        self.secret = secret
        let hash = SuiteHash(of: suite)
        key = hash.expand(secret, "key", count: suite == 0x1301 || suite == 0x1304 ? 16 : 32)
        initial = hash.expand(secret, "iv", count: 12)
    }

    /// The keys after a KeyUpdate.
    var updated: Protection {
        let hash = SuiteHash(of: suite)
        return Protection(suite, hash.expand(secret, "traffic upd", count: hash.length))
    }

    private var nonce: [UInt8] {
        var nonce = initial
        for index in 0..<8 { nonce[11 - index] ^= UInt8(truncatingIfNeeded: sequence >> UInt64(8 * index)) }
        return nonce
    }

    /// A record with its header.
    mutating func seal(_ content: [UInt8], as type: UInt8) -> [UInt8] {
        let length = content.count + 17
        let header = [23, 3, 3, UInt8(length >> 8 & 255), UInt8(length & 255)]
        let sealed = run(1, header, content + [type])
        sequence += 1
        return header + sealed
    }

    /// The content of a record, and its type; `nil` if it was not sealed with these keys.
    mutating func open(_ header: [UInt8], _ body: [UInt8]) -> (type: UInt8, content: [UInt8])? {
        var content = run(0, header, body)
        guard !content.isEmpty else { return nil }
        sequence += 1
        while content.last == 0 { content.removeLast() }
        guard let type = content.popLast() else { return nil }
        return (type, content)
    }

    private func run(_ seal: Int32, _ header: [UInt8], _ input: [UInt8]) -> [UInt8] {
        var output = [UInt8](repeating: 0, count: input.count + 16)
        let count = unsafe cstranger_aead(
            seal, suite, key, nonce, header, header.count, input, input.count, &output, output.count)
        return Array(output.prefix(max(count, 0)))
    }
}

/// The secrets of a handshake (RFC 8446 §7.1).
struct KeySchedule {
    let suite: UInt16
    let hash: SuiteHash
    private var secret: [UInt8]
    private(set) var clientHandshake: [UInt8] = []
    private(set) var serverHandshake: [UInt8] = []

    init(_ suite: UInt16, sharedKey: [UInt8]?) {
        self.suite = suite
        hash = SuiteHash(of: suite)
        secret = hash.code(hash.zeros, sharedKey ?? hash.zeros)
    }

    /// The binder of an external PSK over a hello that ends before its binders.
    func binder(over transcript: [UInt8]) -> [UInt8] {
        hash.finished(hash.derive(secret, "ext binder", []), transcript)
    }

    /// The handshake's secrets, from the transcript up to ServerHello.
    mutating func agree(_ shared: [UInt8], _ transcript: [UInt8]) {
        secret = hash.code(hash.derive(secret, "derived", []), shared)
        clientHandshake = hash.derive(secret, "c hs traffic", transcript)
        serverHandshake = hash.derive(secret, "s hs traffic", transcript)
    }

    /// The keys of the application's data, from the transcript up to the server's Finished.
    func application(_ transcript: [UInt8]) -> (client: Protection, server: Protection) {
        let main = hash.code(hash.derive(secret, "derived", []), hash.zeros)
        return (
            Protection(suite, hash.derive(main, "c ap traffic", transcript)),
            Protection(suite, hash.derive(main, "s ap traffic", transcript))
        )
    }
}
