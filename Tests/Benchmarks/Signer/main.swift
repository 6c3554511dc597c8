import CGnuTLS
import Glibc
import Handshake
import Inspect
import SigningWire
import System
import TLS
import Unconfined
import Wire
import X509

// What the signer costs a server's handshake: processor time of the bare library, of our engine with the key in the
// process, and of our engine with the key in a signer process (whose time counts). Tests/Benchmarks/run makes keys and
// starts it: SignerCost FOLDER HANDSHAKES.

func fail(_ text: String) -> Never {
    print(text)
    exit(1)
}

func wire(_ socket: Int32) {
    var one: Int32 = 1
    _ = unsafe setsockopt(socket, Int32(IPPROTO_TCP), TCP_NODELAY, &one, 4)
}

func address(_ port: UInt16) -> sockaddr_in {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = in_addr_t(0x7F00_0001).bigEndian
    return address
}

func withAddress<Result>(_ port: UInt16, _ body: (UnsafePointer<sockaddr>) -> Result) -> Result {
    var one = address(port)
    return unsafe withUnsafePointer(to: &one) { pointer in
        unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { unsafe body($0) }
    }
}

/// The library alone, one end, blocking.
@safe final class Bare {
    private var credentials: gnutls_certificate_credentials_t?
    private var priority: gnutls_priority_t?
    private let flags: UInt32

    init(server: Bool, certificate: String, key: String) {
        flags = UInt32(server ? GNUTLS_SERVER : GNUTLS_CLIENT) | GNUTLS_NO_TICKETS.rawValue
        guard unsafe gnutls_certificate_allocate_credentials(&credentials) == 0,
            unsafe gnutls_priority_init(&priority, "NORMAL:-VERS-ALL:+VERS-TLS1.3", nil) == 0
        else { fail("credentials") }
        if server,
            unsafe gnutls_certificate_set_x509_key_file(credentials, certificate, key, GNUTLS_X509_FMT_PEM) != 0
        {
            fail("key")
        }
    }

    func shake(_ socket: Int32) {
        var session: gnutls_session_t?
        guard unsafe gnutls_init(&session, flags) == 0 else { fail("session") }
        _ = unsafe gnutls_priority_set(session, priority)
        _ = unsafe gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, UnsafeMutableRawPointer(credentials))
        unsafe gnutls_transport_set_int2(session, socket, socket)
        var code: Int32
        repeat { code = unsafe gnutls_handshake(session) } while code == GNUTLS_E_AGAIN || code == GNUTLS_E_INTERRUPTED
        guard code == 0 else { fail("handshake: \(code)") }
        unsafe gnutls_deinit(session)
    }
}

func client(_ port: UInt16, _ count: Int) {
    let end = Bare(server: false, certificate: "", key: "")
    for _ in 0..<count {
        let number = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        guard unsafe withAddress(port, { unsafe connect(number, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) }) == 0
        else {
            fail("connect")
        }
        wire(number)
        end.shake(number)
        // The server closes first.
        var byte: UInt8 = 0
        while unsafe read(number, &byte, 1) > 0 {}
        close(number)
    }
}

/// Processor time of this process, in nanoseconds.
func ownTime() -> UInt64 {
    var time = timespec()
    _ = unsafe clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}

/// That of another, its main thread's.
func time(of process: Int32) -> UInt64 {
    let number = unsafe open("/proc/\(process)/schedstat", O_RDONLY)
    defer { close(number) }
    var bytes = [UInt8](repeating: 0, count: 100)
    let count = unsafe read(number, &bytes, 99)
    return UInt64(String(decoding: bytes.prefix(max(0, count)).prefix { $0 != 32 }, as: UTF8.self)) ?? 0
}

final class Signing {
    let control: MessageChannel
    let worker: MessageChannel
    let child: ChildProcess
    var buffer: SecretBuffer
    private(set) var publicKey: [UInt8] = []

    init(_ key: String) throws {
        var controls = try MessageChannel.pair(), workers = try MessageChannel.pair()
        control = controls.takeFirst()
        worker = workers.takeFirst()
        buffer = try SecretBuffer(capacity: MessageLimit.message)
        let theirs = controls.takeSecond(), channel = workers.takeSecond()
        let program = try Host.executableFolder() + "/tlshd-signer"
        child = try ChildProcess.spawn(
            program, arguments: [program], environment: [], descriptors: [(theirs.number, SignerDescriptor.control)])
        try order(.setUp(.files, libraryLogLevel: 0, memoryLimit: .max), [])
        _ = try control.receive(into: &buffer, timeout: .seconds(5))
        let file = try SealedFile(copying: key).takeDescriptor()
        let part = SignerPart(kind: .privateKey, place: key, source: .file)
        try order(
            .load(SignerKeys(owner: CredentialsOwner(.standard, .server), generation: 1, parts: [part])), [file.number])
        guard case .message(let length, _) = try control.receive(into: &buffer, timeout: .seconds(5)),
            case .loaded(let verdict) = try buffer.read(first: length) as SignerReport
        else { fail("no verdict") }
        publicKey = verdict.parts.first ?? []
        try order(.connect(worker: 1), [channel.number])
    }

    /// Permits a signature, as the broker does before each handshake, and ends the permit after it.
    func permitted(_ body: () throws -> Void) throws {
        try order(.permit(SigningPermit(job: 1, worker: 1, owner: CredentialsOwner(.standard, .server))), [])
        try body()
        try order(.forget(job: 1), [])
    }

    private func order(_ order: SignerOrder, _ descriptors: [Int32]) throws {
        let count = try buffer.write(order).length
        _ = try control.send(buffer, count: count, descriptors: descriptors, timeout: .seconds(5))
    }

    func ask(_ question: SigningQuestion) -> SignerReply {
        do {
            let count = try buffer.write(question).length
            guard try worker.send(buffer, count: count, timeout: .seconds(2)) == .sent,
                case .message(let length, _) = try worker.receive(into: &buffer, timeout: .seconds(2))
            else { return .unreachable("gone") }
            return .answer(try buffer.read(first: length))
        } catch {
            return .unreachable("\(error)")
        }
    }
}

/// Our engine as a server.
final class Engine {
    private let environment: TLSEnvironment
    private let credentials: Credentials
    private let secrets: SecretBuffer
    let signing: Signing?

    init(certificate: String, key: String, signing: Signing?) throws {
        environment = try TLSEnvironment(
            KernelTLSCapabilities(ciphers: Set(KernelCipher.allCases), limitsTransmitPayload: true))
        self.signing = signing
        secrets = try SecretBuffer(capacity: 16)
        let files = [(CredentialKind.trustStore, certificate), (.certificate, certificate), (.privateKey, key)].map {
            CredentialFile(kind: $0.0, path: $0.1)
        }
        let specification = RoleCredentials(role: .server, generation: 1, files: files)
        var loader =
            if let signing {
                try CredentialsLoader(specification, signer: { signing.ask($0) })
            } else {
                try CredentialsLoader(specification)
            }
        for file in files {
            if let signing, file.kind == .privateKey {
                try loader.load(file, try SealedFile.make(named: "public", holding: signing.publicKey))
            } else {
                try loader.load(file, try SealedFile(copying: file.path).takeDescriptor())
            }
        }
        credentials = try loader.finish()
    }

    func shake(_ socket: Int32) throws {
        guard let signing else { return try run(socket) }
        try signing.permitted { try run(socket) }
    }

    private func run(_ socket: Int32) throws {
        let session = try HandshakeSession(
            HandshakeJob(id: 1, role: .server, authentication: .x509, deadline: .max), secrets: secrets, socket: socket,
            environment: environment, credentials: credentials, findKey: { _, _ in .unknown },
            log: SessionLog(upTo: 0) { _, _ in })
        while true {
            switch session.step() {
            case .finished: return
            case .failed(let failure): fail("\(failure.reason) \(failure.detail)")
            case .wants(let interest, _):
                let events = (interest.contains(.read) ? POLLIN : 0) | (interest.contains(.write) ? POLLOUT : 0)
                var entry = pollfd(fd: socket, events: Int16(events), revents: 0)
                _ = unsafe poll(&entry, 1, 1000)
            }
        }
    }
}

/// Microseconds of processor time for each handshake.
func measure(_ count: Int, others: Int32?, _ shake: (Int32) throws -> Void) throws -> Double {
    let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    defer { close(listener) }
    guard unsafe withAddress(0, { unsafe bind(listener, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) }) == 0,
        listen(listener, 8) == 0
    else { fail("listen") }
    var own = sockaddr_in()
    var size = socklen_t(MemoryLayout<sockaddr_in>.size)
    _ = unsafe withUnsafeMutablePointer(to: &own) { pointer in
        unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { unsafe getsockname(listener, $0, &size) }
    }
    let program = try Host.executableFolder() + "/SignerCost"
    let peer = try ChildProcess.spawn(
        program, arguments: [program, "client", "\(UInt16(bigEndian: own.sin_port))", "\(count)"], environment: [],
        descriptors: [])
    let before = ownTime() + (others.map(time) ?? 0)
    for _ in 0..<count {
        let number = accept(listener, nil, nil)
        wire(number)
        try shake(number)
        close(number)
    }
    let taken = ownTime() + (others.map(time) ?? 0) - before
    guard try peer.wait() == .exited(status: 0) else { fail("the client failed") }
    return Double(taken) / Double(count) / 1000
}

let arguments = CommandLine.arguments
try GnuTLS.initialize()
if arguments.count == 4, arguments[1] == "client", let port = UInt16(arguments[2]), let count = Int(arguments[3]) {
    client(port, count)
    exit(0)
}
guard arguments.count == 3 else { fail("usage: SignerCost FOLDER COUNT") }
let count = Int(arguments[2]) ?? 500
for name in ["p256", "rsa"] {
    let certificate = "\(arguments[1])/\(name)/server.pem", key = "\(arguments[1])/\(name)/server.key"
    let bare = Bare(server: true, certificate: certificate, key: key)
    let direct = try Engine(certificate: certificate, key: key, signing: nil)
    let remote = try Engine(certificate: certificate, key: key, signing: try Signing(key))
    let process = remote.signing?.child.identifier
    var best = [Double](repeating: .infinity, count: 3)
    // In turn, several times, and the least of each: what else the machine does only adds.
    for _ in 0..<5 {
        best[0] = min(best[0], try measure(count, others: nil, bare.shake))
        best[1] = min(best[1], try measure(count, others: nil, direct.shake))
        best[2] = min(best[2], try measure(count, others: process, remote.shake))
    }
    let shown = best.map { "\(Int($0))" }
    print("figure signer-\(name) library_us=\(shown[0]) without_us=\(shown[1]) with_us=\(shown[2])")
    try remote.signing?.child.signal(SIGKILL)
}
