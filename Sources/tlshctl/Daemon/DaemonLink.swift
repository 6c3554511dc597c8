internal import ArgumentParser
internal import Control
internal import FoundationEssentials
internal import Glibc
internal import Settings
internal import System
internal import Unconfined

/// Connection to the control socket of the running tlshd.
struct DaemonLink: ParsableArguments {
    @Option(
        name: .long,
        help: ArgumentHelp(
            "The control socket of the tlshd to ask; without it, that of tlshd's settings.", valueName: "path"))
    var socket: String?

    /// Time limit for an answer. tlshd itself gives up after 2 seconds.
    private static let patience = Duration.seconds(5)

    func validate() throws {
        guard socket != "" else { throw ValidationError("--socket needs a path") }
    }

    /// Sends a request and returns the whole answer.
    func ask(_ request: ControlRequest) throws(CommandError) -> String {
        let socket = try path()
        let connection: OwnedDescriptor
        do {
            connection = try UnixStream.connect(socket)
        } catch {
            throw noAnswer(error, at: socket)
        }
        var progress = Progress("waiting for tlshd at \(socket)")
        let end = ContinuousClock.now + Self.patience
        _ = UnixStream.write(connection.number, Array(request.line.utf8)[...])
        var answer: [UInt8] = []
        while true {
            guard ContinuousClock.now < end else {
                throw Self.stuck(at: socket)
            }
            switch UnixStream.read(connection.number, into: &answer, limit: 65_536) {
            case .moved: continue
            case .wouldBlock:
                _ = Connection.isReady(connection.number, for: .read, within: 250)
                progress.tick()
            case .closed: return try Self.complete(String(decoding: answer, as: UTF8.self))
            }
        }
    }

    func path() throws(CommandError) -> String {
        if let socket { return socket }
        let settings = try? ConfigurationOptions.load(nil).settings
        return try Self.socket(by: settings?.control ?? ControlSettings())
    }

    /// Control socket in the settings.
    static func socket(by settings: ControlSettings) throws(CommandError) -> String {
        guard let socket = settings.socket else {
            throw CommandError(
                "the control socket of tlshd is off ([control] socket=none); remedy: remove that line",
                .unknown)
        }
        return socket
    }

    /// Nobody listens at the socket of the settings, or at the one that was named. If the kernel lacks something that
    /// tlshd needs, that is the cause.
    private func absent(at path: String) -> CommandError {
        let identity = try? FileIdentity(ofPath: path)
        let choice = "give --socket the path in [control] socket= of its settings"
        if let identity, !identity.isSocket {
            return CommandError(
                "tlshd cannot be asked: \(path) is \(identity.kind), not a socket; remedy: \(choice)", .unknown)
        }
        let cause = identity == nil ? "there is no \(path)" : "no process listens at \(path)"
        if let daemon = ListenerCheck.daemon {
            return CommandError(
                "\(daemon.description) runs, but \(cause); remedy: \(choice), or see its log", .unknown)
        }
        guard socket == nil else {
            return CommandError("tlshd is not running: \(cause); remedy: systemctl start tlshd, or \(choice)")
        }
        let obstacle = KernelCheck().findings.first { $0.severity == .failed }
        let why = obstacle.map { "and cannot start: \($0.line), then" } ?? "\(cause); remedy:"
        return CommandError("tlshd is not running, \(why) systemctl start tlshd")
    }

    /// tlshd accepted the connection but does not answer.
    private static func stuck(at socket: String) -> CommandError {
        guard let obstacle = ListenerCheck.obstacle else {
            return CommandError("tlshd does not answer at \(socket); remedy: see its log", .unknown)
        }
        return CommandError("\(obstacle)")
    }

    private static func complete(_ answer: String) throws(CommandError) -> String {
        let refusal = ControlRequest.prefix + " error "
        if answer.hasPrefix(refusal) {
            let why = answer.dropFirst(refusal.count).prefix { $0 != "\n" }
            throw CommandError("tlshd refuses to answer: \(why)", .unknown)
        }
        guard !answer.isEmpty else {
            throw CommandError("tlshd closed the connection without an answer", .unknown)
        }
        return answer
    }

    private func noAnswer(_ error: SystemError, at socket: String) -> CommandError {
        switch error.number {
        case .enoent, .enotdir, .econnrefused: absent(at: socket)
        case .eacces, .eperm:
            CommandError(
                "\(socket) may not be used by this user; remedy: run this as root, or as a member of "
                    + (Self.group(of: socket).map { "the group \($0)" } ?? "a group that [control] group= names"),
                .unknown)
        default: CommandError("cannot connect to tlshd: \(error.description)", .unknown)
        }
    }

    /// Group whose members may connect besides root; `nil` for none.
    private static func group(of socket: String) -> String? {
        var status = stat()
        guard unsafe stat(socket, &status) == 0, status.st_mode & 0o060 != 0 else { return nil }
        // Memory of the C library, valid until the next call.
        guard let entry = unsafe getgrgid(status.st_gid) else { return "\(status.st_gid)" }
        return unsafe String(cString: entry.pointee.gr_name)
    }

    /// Sends a request and decodes the JSON answer.
    func ask<Answer: Decodable>(_ request: ControlRequest, as type: Answer.Type) throws(CommandError) -> Answer {
        let text = try ask(request)
        do {
            return try JSONDecoder().decode(type, from: Data(text.utf8))
        } catch {
            throw CommandError(
                "tlshd's answer cannot be parsed; remedy: use tlshctl of the same version", .unknown)
        }
    }
}

/// Time in the form 2026-11-24T11:00:00Z.
func instant(_ seconds: Int) -> String {
    Date(timeIntervalSince1970: TimeInterval(seconds)).formatted(.iso8601)
}
