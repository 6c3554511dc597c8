import CBareLoop
import Glibc
import Handshake
import System
import TLS
import Wire

/// What peers can cost that nobody trusts: each input of Tests/VM/fake/stranger.py against a server or client of ours.
/// Prints a line "figure stranger" for each: bytes that it sent, processor time of its most expensive step and of the
/// whole handshake, and the memory that the handshake held at most.
final class Strangers {
    private let script: String
    private let environment: TLSEnvironment
    private let credentials: [Role: Credentials]
    private let secrets: SecretBuffer

    init(folder: String, script: String) {
        self.script = script
        do {
            environment = try TLSEnvironment(
                KernelTLSCapabilities(ciphers: Set(KernelCipher.allCases), limitsTransmitPayload: true))
            secrets = try SecretBuffer(capacity: 64)
            credentials = [
                .client: try EnginePairs.credentials(.client, folder + "/p256"),
                .server: try EnginePairs.credentials(.server, folder + "/p256"),
            ]
        } catch {
            fail("\(error)")
        }
    }

    func run() {
        var list = Program("python3 \(script) --list")
        for line in list.rest().split(separator: "\n") {
            let words = line.split(separator: " ").map(String.init)
            guard words.count == 2 else { fail("the stranger lists \(line)") }
            measure(words[0] == "client" ? .client : .server, words[1])
        }
    }

    private struct Cost {
        var step = 0.0
        var all = 0.0
        var memory = 0

        /// Adds a step, in milliseconds.
        mutating func add(_ milliseconds: Double, memory held: Int) {
            step = max(step, milliseconds)
            all += milliseconds
            memory = max(memory, held)
        }
    }

    private func measure(_ side: Role, _ input: String) {
        let (listener, port) = Self.listen()
        var program: Program
        let socket: Int32
        if side == .client {
            program = Program("python3 \(script) client \(port) \(input)")
            socket = accept(listener, nil, nil)
            close(listener)
        } else {
            close(listener)
            program = Program("python3 \(script) server \(port) \(input)")
            while !program.hasSaid("listening") {}
            socket = Self.connect(port)
        }
        let cost = shake(side == .client ? .server : .client, socket, &program)
        close(socket)
        while !program.hasEnded { _ = program.hasSaid("the end") }
        program.end()
        let bytes = program.text.split(separator: "\n").compactMap { line -> Int? in
            let words = line.split(separator: " ")
            return words.first == "bytes" ? Int(words[1]) : nil
        }
        print(
            "figure stranger side=\(side) input=\(input) bytes=\(bytes.first ?? 0) step_ms=\(Self.rounded(cost.step)) "
                + "ms=\(Self.rounded(cost.all)) kb=\((cost.memory + 512) / 1024)")
    }

    private static func rounded(_ value: Double) -> Double { (value * 10).rounded() / 10 }

    private func shake(_ role: Role, _ socket: Int32, _ program: inout Program) -> Cost {
        var cost = Cost()
        let before = Self.allocated()
        let job = HandshakeJob(
            id: 1, role: role, authentication: .x509, deadline: .max, peerName: role == .client ? "server.rig" : nil)
        do throws(HandshakeFailure) {
            let session = try HandshakeSession(
                job, secrets: secrets, socket: socket, environment: environment, credentials: credentials[role],
                findKey: { _, _ in .unknown }, log: SessionLog(upTo: 0) { _, _ in })
            while true {
                let start = Self.threadTime()
                let step = session.step()
                cost.add(Self.threadTime() - start, memory: Self.allocated() - before)
                guard case .wants = step else { break }
                // All that it has to send was read.
                if program.hasSaid("sent"), Self.waiting(socket) == 0 { break }
                var entry = pollfd(fd: socket, events: Int16(POLLIN), revents: 0)
                _ = unsafe poll(&entry, 1, 20)
            }
        } catch {
            fail(error.detail)
        }
        return cost
    }

    /// Bytes that can be read right now.
    private static func waiting(_ socket: Int32) -> Int {
        var count: Int32 = 0
        _ = unsafe ioctl(socket, UInt(FIONREAD), &count)
        return Int(count)
    }

    /// Processor time of this thread, in milliseconds.
    private static func threadTime() -> Double {
        var time = timespec()
        _ = unsafe clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return Double(time.tv_sec) * 1e3 + Double(time.tv_nsec) / 1e6
    }

    /// Bytes that malloc has given out.
    private static func allocated() -> Int { Int(bare_allocated()) }

    private static func listen() -> (Int32, UInt16) {
        let number = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let isDone = unsafe withUnsafeMutablePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe bind(number, $0, size) == 0 && Glibc.listen(number, 8) == 0
                    && getsockname(number, $0, &size) == 0
            }
        }
        guard isDone else { fail("no port to listen on") }
        return (number, UInt16(bigEndian: address.sin_port))
    }

    private static func connect(_ port: UInt16) -> Int32 {
        let number = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        address.sin_port = port.bigEndian
        let isDone = unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe Glibc.connect(number, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
        guard isDone else { fail("the stranger does not listen") }
        return number
    }
}

/// A program whose output we read.
@safe private struct Program {
    private let file: UnsafeMutablePointer<FILE>
    private(set) var text = ""
    private(set) var hasEnded = false

    init(_ command: String) {
        guard let file = unsafe popen(command, "r") else { fail("\(command) cannot be started") }
        unsafe self.file = file
    }

    /// Whether it has said that by now; waits a moment for more.
    mutating func hasSaid(_ word: String) -> Bool {
        if !text.contains(word) { read(patience: 5) }
        return text.contains(word)
    }

    mutating func rest() -> String {
        while !hasEnded { read(patience: 1000) }
        end()
        return text
    }

    private mutating func read(patience: Int32) {
        var entry = pollfd(fd: unsafe fileno(file), events: Int16(POLLIN), revents: 0)
        guard !hasEnded, unsafe poll(&entry, 1, patience) == 1 else { return }
        var bytes = [UInt8](repeating: 0, count: 65_536)
        let count = unsafe Glibc.read(entry.fd, &bytes, bytes.count)
        guard count > 0 else {
            hasEnded = true
            return
        }
        text += String(decoding: bytes.prefix(count), as: UTF8.self)
    }

    func end() { _ = unsafe pclose(file) }
}
