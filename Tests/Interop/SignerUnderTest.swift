import CLinux
import Glibc
import Handshake
import SigningWire
import System
import TestSupport
import Testing
import Unconfined
import Wire

@testable import TLS

/// A real signer process with the test in the broker's place, and in a worker's.
final class SignerUnderTest {
    private var control: MessageChannel
    private var process: ChildProcess?
    private var buffer: SecretBuffer
    let identifier: Int32
    private(set) var isKilled = false

    /// - Parameters:
    ///   - wrapper: a shell command that ends with `exec "$SIGNER"`.
    init(environment: [String] = [], wrapper: String? = nil) throws {
        var pair = try MessageChannel.pair()
        control = pair.takeFirst()
        buffer = try SecretBuffer(capacity: MessageLimit.message)
        let theirs = pair.takeSecond()
        let program = Self.path
        let child = try ChildProcess.spawn(
            wrapper == nil ? program : "/bin/sh",
            arguments: wrapper.map { ["sh", "-c", $0] } ?? ["tlshd-signer"],
            environment: environment + [
                "SIGNER=\(program)", "SWIFT_BACKTRACE=enable=no", "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
            ],
            descriptors: [(theirs.number, SignerDescriptor.control)])
        identifier = child.identifier
        process = consume child
    }

    deinit {
        if let process = process.take() {
            try? process.signal(SIGKILL)
            _ = try? process.wait()
        }
    }

    static let path = Product.path("tlshd-signer")

    func send(_ order: SignerOrder, key: [UInt8] = [], descriptors: [Int32] = []) throws {
        let (length, placed) = try buffer.write(order)
        if case .permit(let permit) = placed { buffer.fill(key, at: permit.key.range.lowerBound) }
        #expect(try control.send(buffer, count: length, descriptors: descriptors, timeout: .seconds(60)) == .sent)
    }

    func send(raw bytes: [UInt8], descriptors: [Int32] = []) throws {
        buffer.fill(bytes)
        #expect(try control.send(buffer, count: bytes.count, descriptors: descriptors, timeout: .seconds(60)) == .sent)
    }

    /// The next report; `nil` when the signer is gone or silent.
    func next() throws -> SignerReport? {
        guard case .message(let length, _) = try control.receive(into: &buffer, timeout: .seconds(60)) else {
            return nil
        }
        return try buffer.read(first: length)
    }

    /// Waits until it has done what it was sent.
    func settle() throws {
        try send(.ping)
        #expect(try next() == .alive)
    }

    /// - Returns: the layers of its sandbox; `nil` when it does not answer.
    @discardableResult
    func setUp(_ kind: SignerKind = .files) throws -> Confinement? {
        try send(.setUp(kind, libraryLogLevel: 0, memoryLimit: .max))
        guard case .ready(let confinement)? = try next() else { return nil }
        return confinement
    }

    /// Has keys loaded, files of which are fixtures' or have their whole path.
    func load(
        _ parts: [(CredentialKind, SignerPart.Source, file: String?)], others: [String] = [], role: Role = .server,
        generation: UInt32 = 1
    ) throws -> SignerVerdict? {
        var sealed: [Int32] = []
        defer { for number in sealed { close(number) } }
        var listed: [SignerPart] = []
        for (kind, source, file) in parts {
            var place = "pkcs11:…"
            if let file {
                let path = file.hasPrefix("/") ? file : Fixtures.shared.path(file)
                if source == .file { place = path }
                sealed.append(try SealedFile(copying: path).takeDescriptor().release())
            }
            listed.append(SignerPart(kind: kind, place: place, source: source))
        }
        for (index, name) in others.enumerated() {
            let path = Fixtures.shared.path(name)
            sealed.append(try SealedFile(copying: path).takeDescriptor().release())
            listed.append(SignerPart(kind: .privateKey, pair: UInt8(index + 1), place: path, source: .file))
        }
        try send(
            .load(SignerKeys(owner: CredentialsOwner(.standard, role), generation: generation, parts: listed)),
            descriptors: sealed)
        guard case .loaded(let verdict)? = try next() else { return nil }
        return verdict
    }

    /// Lets a worker have one signature, in place of a former permit for the same handshake.
    ///
    /// - Parameter key: the key of the request in DER; `nil` for the role's.
    func permit(
        _ job: UInt64 = 1, worker: UInt32 = 1, _ owner: CredentialsOwner = CredentialsOwner(.standard, .server),
        key: [UInt8]? = nil, isReported: Bool = false
    ) throws {
        let permit = SigningPermit(
            job: job, worker: worker, owner: owner, isForRequestKey: key != nil,
            key: SecretRange(count: key?.count ?? 0), isReported: isReported)
        try send(.permit(permit), key: key ?? [])
    }

    /// The worker's end of a new channel.
    func connect(_ worker: UInt32 = 1) throws -> SignerConversation {
        var pair = try MessageChannel.pair()
        let ours = pair.takeFirst(), theirs = pair.takeSecond()
        try send(.connect(worker: worker), descriptors: [theirs.number])
        return try SignerConversation(ours)
    }

    /// Goes away, as a broker that dies does.
    func closeChannel() throws {
        var pair = try MessageChannel.pair()
        control = pair.takeFirst()
    }

    func signal(_ signal: Int32) throws {
        isKilled = signal == SIGKILL
        try process?.signal(signal)
    }

    /// How it ended, waiting for that.
    func end() throws -> ChildProcess.End? { try waitForEnd(of: &process) }
}

/// A worker's channel to the signer.
final class SignerConversation {
    private let channel: MessageChannel
    private var buffer: SecretBuffer
    /// How many questions were answered.
    private(set) var count = 0

    init(_ channel: consuming MessageChannel) throws {
        self.channel = channel
        buffer = try SecretBuffer(capacity: MessageLimit.message)
    }

    var call: SignerCall {
        { [self] question in
            do {
                guard let answer = try ask(question) else { return .unreachable("it is gone") }
                return .answer(answer)
            } catch {
                return .unreachable("\(error)")
            }
        }
    }

    /// `nil` when the channel is closed, or nothing comes.
    func ask(_ question: SigningQuestion) throws -> SigningAnswer? {
        let length = try buffer.write(question).length
        return try exchange(length, [])
    }

    func ask(raw bytes: [UInt8], descriptors: [Int32] = []) throws -> SigningAnswer? {
        buffer.fill(bytes)
        return try exchange(bytes.count, descriptors)
    }

    /// Asks and goes away.
    func leave(_ question: SigningQuestion) throws {
        let length = try buffer.write(question).length
        #expect(try channel.send(buffer, count: length, timeout: .seconds(60)) == .sent)
    }

    private func exchange(_ length: Int, _ descriptors: [Int32]) throws -> SigningAnswer? {
        guard try channel.send(buffer, count: length, descriptors: descriptors, timeout: .seconds(60)) == .sent,
            case .message(let length, _) = try channel.receive(into: &buffer, timeout: .seconds(60))
        else { return nil }
        count += 1
        return try buffer.read(first: length)
    }
}
