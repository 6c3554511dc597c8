internal import CStranger
internal import Glibc
internal import Handshake

/// A peer of TLS 1.3 that carries out a plan: it computes what is right, over the messages that it has sent, and bends
/// each message as the plan says.
///
/// It trusts the worker. It never blocks; call `act` until nothing happens.
final class Stranger {
    /// What both sides of the fuzzer know.
    static let identity = Array("NVMe1R01 nqn.2014-08.test:host nqn.2014-08.test:subsystem".utf8)
    static let sharedKey = [UInt8](repeating: 0x42, count: 32)
    static let peerName = "peer.test"

    /// A record in the stream of the stranger's bytes.
    struct Mark {
        let offset: Int
        /// Of the application's keys; -1 for a record that has others, or none.
        let generation: Int
        let sequence: UInt64
    }

    private let plan: Plan
    private let socket: Int32
    private let isClient: Bool

    private var outbox: ArraySlice<UInt8> = []
    private var incoming: [UInt8] = []
    private var messages: [UInt8] = []
    private var transcript: [UInt8] = []
    private var schedule: KeySchedule?
    private var write: Protection?
    private var read: Protection?
    private var nextApplication: (client: Protection, server: Protection)?
    private var hasBegun = false
    private var hasStopped = false
    private var hasRetried = false
    private var messageCount = 0
    private var requestContext: [UInt8]?
    private var isRequested = false

    /// Bytes that the worker has sent.
    private(set) var receivedCount = 0
    private(set) var isAtEnd = false
    private(set) var isClosed = false
    private(set) var alert: UInt8?
    /// It has sent its Finished, and whatever follows.
    private(set) var isComplete = false
    /// Its certificate is one that the worker trusts, and its signature is right and was sent as it is.
    private(set) var hasProof = false
    private var showsTrusted = false

    // What the keys in the kernel are compared with.

    /// Keys of its application data, one for each key update.
    private(set) var writeGenerations: [Protection] = []
    /// Keys of the worker's application data that are in use.
    var readNow: Protection? { readGeneration > 0 ? read : nil }
    private var readGeneration = 0
    private(set) var marks: [Mark] = []
    private(set) var sentCount = 0
    /// A record was changed, so that marks are of no use.
    private(set) var hasBentRecords = false

    init(_ plan: Plan, on socket: Int32) {
        self.plan = plan
        self.socket = socket
        isClient = plan.role == .server
    }

    /// Sends and receives as far as the socket allows.
    ///
    /// - Returns: `true` if anything happened.
    func act() -> Bool {
        var happened = false
        if !hasBegun {
            hasBegun = true
            happened = true
            if let raw = plan.raw {
                outbox = raw[...]
            } else if isClient {
                sayHello()
            }
        }
        if flush() { happened = true }
        if receive() { happened = true }
        if flush() { happened = true }
        return happened
    }

    private func flush() -> Bool {
        guard !outbox.isEmpty else { return false }
        let count = plan.portion == 0 ? outbox.count : min(outbox.count, plan.portion)
        let sent = unsafe outbox.withUnsafeBytes { bytes in
            unsafe send(socket, bytes.baseAddress, count, Int32(MSG_DONTWAIT) | Int32(MSG_NOSIGNAL))
        }
        guard sent > 0 else {
            if errno != EAGAIN { outbox = [] }
            return false
        }
        outbox = outbox.dropFirst(sent)
        return true
    }

    private func receive() -> Bool {
        var happened = false
        var part = [UInt8](repeating: 0, count: 65_536)
        while !isAtEnd {
            let count = unsafe recv(socket, &part, part.count, Int32(MSG_DONTWAIT))
            if count == 0 || (count < 0 && errno != EAGAIN) { isAtEnd = true }
            guard count > 0 else { break }
            happened = true
            receivedCount += count
            incoming += part.prefix(count)
        }
        while plan.raw == nil, incoming.count >= 5, case let end = 5 + int16(incoming, 3), incoming.count >= end {
            let header = Array(incoming[..<5]), body = Array(incoming[5..<end])
            incoming.removeFirst(end)
            take(header, body)
        }
        return happened
    }

    /// All that it has to send has left.
    var isFlushed: Bool { outbox.isEmpty }

    /// Ends the connection in its direction.
    func close() {
        isClosed = true
        shutdown(socket, Int32(SHUT_WR))
    }

    /// Ends the connection with RST. The descriptor stays open.
    func reset() {
        isClosed = true
        Self.abort(socket)
    }

    /// Disconnects a socket, which sends RST (tcp(7), connect to AF_UNSPEC).
    static func abort(_ socket: Int32) {
        var address = sockaddr()
        address.sa_family = sa_family_t(AF_UNSPEC)
        _ = unsafe connect(socket, &address, socklen_t(MemoryLayout<sockaddr>.size))
    }

    /// What the worker has sent without keys after a handshake: a KeyUpdate, which the kernel would protect.
    func takePlain() -> [UInt8] {
        defer { incoming = [] }
        return incoming
    }

    private func take(_ header: [UInt8], _ body: [UInt8]) {
        var type = header[0], content = body
        if type == 23 {
            guard let opened = read?.open(header, body) else { return }
            (type, content) = opened
        }
        switch type {
        case 21 where content.count == 2: alert = content[1]
        case 22:
            messages += content
            while messages.count >= 4, case let end = 4 + Int(messages[1]) << 16 + int16(messages, 2),
                messages.count >= end
            {
                let message = Array(messages[..<end])
                messages.removeFirst(end)
                hear(message)
            }
        default: break
        }
    }

    private func hear(_ message: [UInt8]) {
        let type = message[0]
        if type == 24 {
            read = read?.updated
            readGeneration += 1
            return
        }
        guard !isComplete || !isClient else { return }
        switch (type, isClient) {
        case (2, true): hearServerHello(message)
        case (13, true):
            isRequested = true
            requestContext = message.count > 5 ? Array(message[5..<min(message.count, 5 + Int(message[4]))]) : []
            transcript += message
        case (20, true):
            transcript += message
            nextApplication = schedule?.application(transcript)
            read = nextApplication?.server
            readGeneration = 1
            answerServer()
        case (1, false): hearClientHello(message)
        case (20, false):
            transcript += message
            read = nextApplication?.client
            readGeneration = 1
            if !plan.isEarly { follow() }
        default: transcript += message
        }
    }

    // MARK: Client

    private var suites: [UInt16] { [plan.suite] + [0x1301, 0x1302, 0x1303, 0x1304].filter { $0 != plan.suite } }

    private func sayHello(group retried: UInt16? = nil, cookie: [UInt8]? = nil) {
        var hello = Draft(1, [3, 3] + [UInt8](repeating: 7, count: 32) + [32] + [UInt8](repeating: 9, count: 32))
        hello.head += long(suites.flatMap(bytes16)) + [1, 0]
        hello.add(43, [2, 3, 4])
        let groups = [plan.group.number] + [0x001D, 0x0017, 0x0018].filter { $0 != plan.group.number }
        hello.add(10, long(groups.flatMap(bytes16)))
        hello.add(
            13,
            long(
                [0x0807, 0x0403, 0x0503, 0x0603, 0x0804, 0x0805, 0x0806, 0x0809, 0x080a, 0x080b].flatMap(bytes16)))
        if plan.offersProtocol { hello.add(16, long([6] + Array("sunrpc".utf8))) }
        if plan.limitsRecords { hello.add(28, bytes16(512 + plan.modulus)) }
        if let cookie { hello.add(44, cookie) }
        let withholds = plan.retries && retried == nil
        let shares =
            withholds ? [] : [retried ?? plan.group.number].flatMap { bytes16(Int($0)) + long(share(of: $0)) }
        hello.add(51, long(shares))
        if plan.authentication == .preSharedKey {
            hello.add(45, [1, 1])
            let schedule = KeySchedule(0x1301, sharedKey: sharedKey)
            let length = schedule.hash.length
            hello.add(
                41,
                long(long(Self.identity) + [0, 0, 0, 0])
                    + long([UInt8(length)] + [UInt8](repeating: 0, count: length)))
            bendExtensions(of: &hello)
            var whole = hello.bytes
            if whole.count > length + 3 {
                let binder = schedule.binder(over: transcript + whole.dropLast(length + 3))
                whole.replaceSubrange((whole.count - length)..., with: binder)
            }
            say(whole)
        } else {
            bendExtensions(of: &hello)
            say(hello.bytes)
        }
    }

    private var sharedKey: [UInt8] {
        plan.usesWrongKey ? [UInt8](repeating: 0x43, count: 32) : Self.sharedKey
    }

    private func hearServerHello(_ message: [UInt8]) {
        guard let hello = Hello(message, isServer: true) else { return }
        let hash = SuiteHash(of: hello.suite)
        if hello.isRetry {
            transcript = [254, 0, 0, UInt8(hash.length)] + hash.digest(transcript) + message
            let group = hello.extensions[51].map { UInt16(int16($0, 0)) }
            sayHello(group: group, cookie: hello.extensions[44])
            return
        }
        transcript += message
        guard let entry = hello.extensions[51], entry.count > 4 else { return }
        let group = UInt16(int16(entry, 0))
        guard let shared = agree(group, Array(entry[4...])) else { return }
        var schedule = KeySchedule(
            hello.suite, sharedKey: hello.extensions[41] == nil ? nil : sharedKey)
        schedule.agree(shared, transcript)
        read = Protection(hello.suite, schedule.serverHandshake)
        write = Protection(hello.suite, schedule.clientHandshake)
        self.schedule = schedule
    }

    private func answerServer() {
        guard let schedule else { return }
        if plan.sendsChangeCipherSpec { putChange() }
        if isRequested { sayCertificate(requestContext ?? []) }
        let finished = schedule.hash.finished(schedule.clientHandshake, transcript)
        say(Draft(20, finished).bytes)
        begin(nextApplication?.client)
        follow()
    }

    // MARK: Server

    private func hearClientHello(_ message: [UInt8]) {
        guard let hello = Hello(message, isServer: false) else { return }
        let suite = hello.suites.contains(plan.suite) ? plan.suite : hello.suites.first ?? 0x1301
        let hash = SuiteHash(of: suite)
        if plan.retries, !hasRetried {
            hasRetried = true
            transcript = [254, 0, 0, UInt8(hash.length)] + hash.digest(message)
            var retry = Draft(2, [3, 3] + Hello.retryRandom + [UInt8(hello.session.count)] + hello.session)
            retry.head += bytes16(suite) + [0]
            retry.add(43, [3, 4])
            if plan.sendsCookie { retry.add(44, long([1, 2, 3, 4])) }
            // A group of which the hello has no share, unless a cookie alone is the reason.
            let others = [0x0018, 0x0017, 0x001D].map { UInt16($0) }.filter { hello.share(of: $0) == nil }
            if !plan.sendsCookie || plan.group.number == 0x0018 {
                retry.add(51, bytes16(others.first ?? plan.group.number))
            }
            bendExtensions(of: &retry)
            say(retry.bytes)
            return
        }
        transcript += message
        let order = [plan.group.number, 0x001D, 0x0017, 0x0018]
        let group = order.first { hello.share(of: $0) != nil && (plan.retries || $0 == plan.group.number) } ?? order[0]
        var answer = Draft(2, [3, 3] + [UInt8](repeating: 8, count: 32) + [UInt8(hello.session.count)] + hello.session)
        answer.head += bytes16(suite) + [0]
        answer.add(43, [3, 4])
        answer.add(51, bytes16(group) + long(share(of: group)))
        let usesSharedKey = plan.authentication == .preSharedKey && hello.extensions[41] != nil
        if usesSharedKey { answer.add(41, [0, 0]) }
        bendExtensions(of: &answer)
        say(answer.bytes)
        if plan.sendsChangeCipherSpec { putChange() }
        guard let theirs = hello.share(of: group), let shared = agree(group, theirs) else {
            isComplete = true
            return
        }
        var schedule = KeySchedule(suite, sharedKey: usesSharedKey ? sharedKey : nil)
        schedule.agree(shared, transcript)
        read = Protection(suite, schedule.clientHandshake)
        write = Protection(suite, schedule.serverHandshake)
        self.schedule = schedule
        var extensions = Draft(8, [])
        if plan.offersProtocol { extensions.add(16, long([6] + Array("sunrpc".utf8))) }
        if plan.limitsRecords { extensions.add(28, bytes16(512 + plan.modulus)) }
        bendExtensions(of: &extensions)
        say(extensions.bytes)
        if !usesSharedKey {
            if plan.asksForCertificate {
                var request = Draft(13, [0])
                request.add(13, long([0x0807, 0x0403, 0x0804].flatMap(bytes16)))
                bendExtensions(of: &request)
                say(request.bytes)
            }
            sayCertificate([])
        }
        say(Draft(20, schedule.hash.finished(schedule.serverHandshake, transcript)).bytes)
        nextApplication = schedule.application(transcript)
        begin(nextApplication?.server)
        if plan.isEarly { follow() }
    }

    // MARK: Both

    private func sayCertificate(_ context: [UInt8]) {
        let (chain, scheme): ([[UInt8]], Int) =
            switch plan.certificate {
            case .none: ([], 0)
            case .trusted, .borrowed: ([certificate(CSTRANGER_PEER)], 0x0807)
            case .trustedCurve: ([certificate(CSTRANGER_CURVE_PEER)], 0x0403)
            case .stranger: ([certificate(CSTRANGER_STRANGER)], 0x0807)
            case .rsa: ([RSACertificate.make(modulus: plan.modulus, exponent: plan.exponent)], 0x0804)
            case .chain:
                (
                    [certificate(CSTRANGER_PEER)]
                        + [[UInt8]](repeating: certificate(CSTRANGER_AUTHORITY), count: plan.modulus / 16), 0x0807
                )
            }
        var message = Draft(11, [UInt8(context.count)] + context)
        message.head += long24(chain.flatMap { long24($0) + [0, 0] })
        let sent = say(message.bytes)
        if let leaf = chain.first, sent.count > 11 + context.count {
            let start = 4 + 1 + context.count + 3 + 3
            showsTrusted =
                [.trusted, .trustedCurve, .chain].contains(plan.certificate) && sent[start...].starts(with: leaf)
        }
        guard let schedule, !chain.isEmpty else { return }
        let role = isClient ? "client" : "server"
        let content =
            [UInt8](repeating: 32, count: 64) + Array("TLS 1.3, \(role) CertificateVerify".utf8) + [0]
            + schedule.hash.digest(transcript)
        let signature =
            switch plan.certificate {
            case .trusted, .chain: sign(content, CSTRANGER_PEER)
            case .trustedCurve: sign(content, CSTRANGER_CURVE_PEER)
            case .rsa: [0x7F] + [UInt8](repeating: 0xA5, count: max(plan.modulus, 1) - 1)
            default: sign(content, CSTRANGER_STRANGER)
            }
        let verify = Draft(15, bytes16(scheme) + long(signature)).bytes
        hasProof = say(verify) == verify && showsTrusted
    }

    private func begin(_ application: Protection?) {
        write = application
        if let application { writeGenerations = [application] }
    }

    /// Sends what comes after the handshake.
    private func follow() {
        guard !isComplete, write != nil else { return }
        if !isClient {
            for number in 0..<plan.tickets {
                let ticket =
                    [0, 0, 14, 16, 0, 0, 0, UInt8(number)] + [1, UInt8(number)] + long([1, 2, 3, 4]) + [0, 0]
                say(Draft(4, ticket).bytes, joins: false)
            }
        }
        if plan.updatesKey {
            let update = Draft(24, [plan.tickets == 3 ? 0 : 1]).bytes
            if say(update, joins: false) != update { hasBentRecords = true }
            if !hasStopped, let next = write?.updated {
                write = next
                writeGenerations.append(next)
            }
        }
        if plan.sendsData { put(Array("data".utf8), as: 23) }
        isComplete = true
    }

    /// Bends a message and sends it.
    ///
    /// - Parameter joins: it is part of the transcript.
    /// - Returns: The message as it was sent, without copies; empty if it was not.
    @discardableResult
    private func say(_ message: [UInt8], joins: Bool = true) -> [UInt8] {
        let number = messageCount & 15
        messageCount += 1
        var sent = message, hashed = message, copies = 1, piece = 16_384
        for bend in plan.bends where bend.message == number {
            bendMessage(&sent, bend)
            if !bend.isSecret { bendMessage(&hashed, bend) }
            switch bend.kind {
            case .again: copies += Int(bend.value & 3) + 1
            case .drop: copies = 0
            case .split: piece = Int(bend.value) + 1
            case .recordBefore: put(bend.bytes, as: bend.value, plainly: bend.isSecret)
            case .stop: hasStopped = true
            case .end where !hasStopped:
                _ = flush()
                close()
                hasStopped = true
            default: break
            }
        }
        guard !hasStopped else { return [] }
        for copy in 0..<copies {
            // Nothing that follows a Finished joins the transcript of the keys after it.
            if joins, copy == 0 || message[0] != 20 { transcript += hashed }
            for start in stride(from: 0, to: sent.count, by: piece) {
                let bent = plan.bends.filter { $0.message == number && $0.kind == .flipRecord }
                put(Array(sent[start..<min(start + piece, sent.count)]), as: 22, bends: bent)
            }
        }
        return copies == 1 ? sent : []
    }

    /// Sends a record.
    private func put(_ content: [UInt8], as type: UInt8, plainly: Bool = false, bends: [Plan.Bend] = []) {
        guard !hasStopped else { return }
        var record: [UInt8]
        if !plainly, let sequence = write?.sequence, let sealed = write?.seal(content, as: type) {
            record = sealed
            marks.append(Mark(offset: sentCount, generation: writeGenerations.count - 1, sequence: sequence))
        } else {
            record = [type, 3, 3, UInt8(content.count >> 8 & 255), UInt8(content.count & 255)] + content
            marks.append(Mark(offset: sentCount, generation: -1, sequence: 0))
            if !writeGenerations.isEmpty { hasBentRecords = true }
        }
        for bend in bends where !record.isEmpty {
            record[bend.offset % record.count] ^= bend.value
            hasBentRecords = true
        }
        sentCount += record.count
        outbox += record
    }

    private func putChange() {
        marks.append(Mark(offset: sentCount, generation: -1, sequence: 0))
        outbox += [20, 3, 3, 0, 1, 1]
        sentCount += 6
    }

    private func bendMessage(_ message: inout [UInt8], _ bend: Plan.Bend) {
        guard message.count > 4 else { return }
        let place = bend.offset % message.count
        switch bend.kind {
        case .flip: message[place] ^= bend.value
        case .insert: message.insert(contentsOf: bend.bytes, at: place)
        case .delete: message.removeSubrange(place..<min(message.count, place + Int(bend.value)))
        case .cut: message.removeSubrange(place...)
        case .length:
            (message[1], message[2], message[3]) = (bend.value, UInt8(bend.offset >> 8), UInt8(bend.offset & 255))
            return
        case .fill: message += [UInt8](repeating: bend.value, count: bend.offset)
        default: return
        }
        guard [.insert, .delete, .fill].contains(bend.kind), !bend.keepsLength, message.count >= 4 else { return }
        let length = message.count - 4
        (message[1], message[2], message[3]) = (UInt8(length >> 16), UInt8(length >> 8 & 255), UInt8(length & 255))
    }

    private func bendExtensions(of draft: inout Draft) {
        for bend in plan.bends where bend.message == messageCount & 15 {
            switch bend.kind {
            case .addExtension: draft.extensions?.insert((bend.offset, bend.bytes), at: 0)
            case .growExtension:
                let body = [UInt8](repeating: 0, count: Int(bend.value) * 256)
                draft.extensions?.insert((bend.offset, body), at: 0)
            case .removeExtension:
                guard let count = draft.extensions?.count, count > 0 else { continue }
                draft.extensions?.remove(at: bend.offset % count)
            default: continue
            }
        }
    }

    private func share(of group: UInt16) -> [UInt8] {
        var out = [UInt8](repeating: 0, count: 97)
        let count = unsafe cstranger_share(group, &out)
        if count > 0 { return Array(out.prefix(count)) }
        // No key pair, but a number that may be the share of one.
        let length = Plan.Group.all.first { $0.number == group }?.length ?? 32
        return (0..<length).map { UInt8(truncatingIfNeeded: $0 &* 151 &+ 77) & 127 }
    }

    private func agree(_ group: UInt16, _ share: [UInt8]) -> [UInt8]? {
        var out = [UInt8](repeating: 0, count: 48)
        let count = unsafe cstranger_agree(group, share, share.count, &out)
        return count < 0 ? nil : Array(out.prefix(count))
    }

    private func certificate(_ who: cstranger_who) -> [UInt8] {
        var count = 0
        let start = unsafe cstranger_certificate(who, 0, &count)
        return unsafe Array(UnsafeBufferPointer(start: start, count: count))
    }

    private func sign(_ content: [UInt8], _ who: cstranger_who) -> [UInt8] {
        var out = [UInt8](repeating: 0, count: 512)
        let count = unsafe cstranger_sign(who, content, content.count, &out, out.count)
        return Array(out.prefix(max(count, 0)))
    }
}

/// A handshake message before it is encoded.
private struct Draft {
    let type: UInt8
    var head: [UInt8]
    var extensions: [(type: Int, body: [UInt8])]?

    init(_ type: UInt8, _ head: [UInt8]) {
        self.type = type
        self.head = head
        if type == 8 { extensions = [] }
    }

    mutating func add(_ type: Int, _ body: [UInt8]) { extensions = (extensions ?? []) + [(type, body)] }

    var bytes: [UInt8] {
        var body = head
        if let extensions { body += long(extensions.flatMap { bytes16($0.type) + long($0.body) }) }
        return [type] + long24(body)
    }
}

/// A hello of the worker's, which is well-formed.
private struct Hello {
    static let retryRandom: [UInt8] = [
        0xCF, 0x21, 0xAD, 0x74, 0xE5, 0x9A, 0x61, 0x11, 0xBE, 0x1D, 0x8C, 0x02, 0x1E, 0x65, 0xB8, 0x91, 0xC2, 0xA2,
        0x11, 0x16, 0x7A, 0xBB, 0x8C, 0x5E, 0x07, 0x9E, 0x09, 0xE2, 0xC8, 0xA8, 0x33, 0x9C,
    ]

    let isRetry: Bool
    let session: [UInt8]
    var suites: [UInt16] = []
    var suite: UInt16 { suites.first ?? 0x1301 }
    var extensions: [Int: [UInt8]] = [:]

    init?(_ message: [UInt8], isServer: Bool) {
        var rest = message[4...]
        func take(_ count: Int) -> [UInt8] {
            defer { rest = rest.dropFirst(count) }
            return Array(rest.prefix(count))
        }
        func number(_ size: Int) -> Int { take(size).reduce(0) { $0 << 8 | Int($1) } }
        isRetry = take(34).dropFirst(2).elementsEqual(Self.retryRandom)
        session = take(number(1))
        let count = isServer ? 2 : number(2)
        for _ in 0..<(count / 2) { suites.append(UInt16(number(2))) }
        _ = take(isServer ? 1 : number(1))
        guard rest.count >= 2 else { return nil }
        _ = number(2)
        while rest.count >= 4 {
            let type = number(2)
            extensions[type] = take(number(2))
        }
    }

    /// The share of a group in a client's hello.
    func share(of group: UInt16) -> [UInt8]? {
        guard var rest = extensions[51]?.dropFirst(2) else { return nil }
        while rest.count >= 4 {
            let head = Array(rest.prefix(4)), length = int16(head, 2)
            if int16(head, 0) == Int(group) { return Array(rest.dropFirst(4).prefix(length)) }
            rest = rest.dropFirst(4 + length)
        }
        return nil
    }
}

/// A certificate that nobody has signed, of an RSA key that nobody has.
private enum RSACertificate {
    static func make(modulus: Int, exponent: Int) -> [UInt8] {
        let rsa: [UInt8] = [0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01]
        let signed = tag(0x30, tag(6, rsa + [11]) + [5, 0])
        let name = tag(0x30, tag(0x31, tag(0x30, tag(6, [0x55, 4, 3]) + tag(12, Array("stranger".utf8)))))
        let dates = tag(0x30, tag(0x18, Array("20200101000000Z".utf8)) + tag(0x18, Array("20600101000000Z".utf8)))
        let key = tag(0x30, number(modulus) + (exponent == 0 ? [2, 3, 1, 0, 1] : number(exponent)))
        let info = tag(0x30, tag(0x30, tag(6, rsa + [1]) + [5, 0]) + tag(3, [0] + key))
        let numbers: [UInt8] = tag(0xA0, [2, 1, 2]) + [2, 1, 1]
        let body = tag(0x30, numbers + signed + name + dates + name + info)
        return tag(0x30, body + signed + tag(3, [0] + [UInt8](repeating: 0x5A, count: max(modulus, 1))))
    }

    /// An odd number of so many bytes.
    private static func number(_ count: Int) -> [UInt8] { tag(2, [0] + [UInt8](repeating: 0xFB, count: max(count, 1))) }

    private static func tag(_ tag: UInt8, _ content: [UInt8]) -> [UInt8] {
        let count = content.count
        let length: [UInt8] =
            count < 128
            ? [UInt8(count)] : count < 65_536 ? [0x82] + bytes16(count) : [0x83, UInt8(count >> 16)] + bytes16(count)
        return [tag] + length + content
    }
}

private func bytes16(_ number: some BinaryInteger) -> [UInt8] {
    [UInt8(truncatingIfNeeded: number >> 8), UInt8(truncatingIfNeeded: number)]
}

/// Bytes behind their length in two bytes, and in three.
private func long(_ bytes: [UInt8]) -> [UInt8] { bytes16(bytes.count) + bytes }
private func long24(_ bytes: [UInt8]) -> [UInt8] {
    [UInt8(truncatingIfNeeded: bytes.count >> 16)] + bytes16(bytes.count) + bytes
}

private func int16(_ bytes: [UInt8], _ index: Int) -> Int { Int(bytes[index]) << 8 | Int(bytes[index + 1]) }
