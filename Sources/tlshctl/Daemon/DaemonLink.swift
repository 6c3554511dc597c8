internal import ArgumentParser
internal import Control
internal import FoundationEssentials
internal import Glibc
internal import Settings
internal import System

/// Where the running tlshd is asked.
struct DaemonLink: ParsableArguments {
    @Option(name: .long, help: "The control socket of the tlshd to ask.")
    var socket = ControlSettings.standardSocket

    /// How long an answer may take; tlshd itself gives up after 2 seconds.
    private static let patience = Duration.seconds(5)

    /// Why there is no answer, and what the command ends with.
    struct Silence: Error {
        let text: String
        let status: ExitStatus
    }

    /// Asks, and returns the whole answer.
    func ask(_ request: ControlRequest) throws(Silence) -> String {
        let connection: OwnedDescriptor
        do {
            connection = try UnixStream.connect(socket)
        } catch {
            throw silence(error)
        }
        var progress = Progress("waiting for tlshd at \(socket)")
        let end = ContinuousClock.now + Self.patience
        _ = UnixStream.write(connection.number, Array(request.line.utf8)[...])
        var answer: [UInt8] = []
        while true {
            guard ContinuousClock.now < end else {
                throw stuck
            }
            switch UnixStream.read(connection.number, into: &answer, limit: 65_536) {
            case .moved: continue
            case .wouldBlock:
                var wait = pollfd(fd: connection.number, events: Int16(POLLIN), revents: 0)
                _ = unsafe poll(&wait, 1, 250)
                progress.tick()
            case .closed: return try complete(String(decoding: answer, as: UTF8.self))
            }
        }
    }

    /// It would not start either where the kernel lacks what it needs.
    private var absent: Silence {
        let obstacle = KernelCheck().findings.first { $0.severity == .failure }
        let why = obstacle.map { "and cannot start: \($0.line), then" } ?? "nobody listens at \(socket); remedy:"
        return Silence(text: "FAILED: tlshd is not running, \(why) systemctl start tlshd", status: .failure)
    }

    /// It took the question and says nothing.
    private var stuck: Silence {
        guard let obstacle = ListenerCheck.obstacle else {
            return Silence(
                text: "UNKNOWN: tlshd does not answer at \(socket); remedy: see its log", status: .unavailable)
        }
        return Silence(text: "FAILED: \(obstacle)", status: .failure)
    }

    private func complete(_ answer: String) throws(Silence) -> String {
        let refusal = ControlRequest.prefix + " error "
        if answer.hasPrefix(refusal) {
            let why = answer.dropFirst(refusal.count).prefix { $0 != "\n" }
            throw Silence(text: "UNKNOWN: tlshd refuses to answer: \(why)", status: .unavailable)
        }
        guard !answer.isEmpty else {
            throw Silence(text: "UNKNOWN: tlshd closed the connection without an answer", status: .unavailable)
        }
        return answer
    }

    private func silence(_ error: SystemError) -> Silence {
        switch error.number {
        case ENOENT, ECONNREFUSED: absent
        case EACCES, EPERM:
            Silence(
                text: "UNKNOWN: \(socket) may not be used by this user; remedy: run this as root, or as a member of "
                    + (group.map { "the group \($0)" } ?? "a group that [control] group= names"),
                status: .unavailable)
        default: Silence(text: "UNKNOWN: tlshd cannot be asked: \(error.description)", status: .unavailable)
        }
    }

    /// Whose members may ask besides root; `nil` for nobody.
    private var group: String? {
        var status = stat()
        guard unsafe stat(socket, &status) == 0, status.st_mode & 0o060 != 0 else { return nil }
        // The library's own memory, valid until the next call.
        guard let entry = unsafe getgrgid(status.st_gid) else { return "\(status.st_gid)" }
        return unsafe String(cString: entry.pointee.gr_name)
    }

    /// Reads an answer in JSON.
    func ask<Answer: Decodable>(_ request: ControlRequest, as type: Answer.Type) throws(Silence) -> Answer {
        let text = try ask(request)
        do {
            return try JSONDecoder().decode(type, from: Data(text.utf8))
        } catch {
            throw Silence(
                text: "UNKNOWN: tlshd's answer is not understood; remedy: a tlshctl of its version",
                status: .unavailable)
        }
    }
}

extension Output {
    /// Says why there is no answer, and ends the command.
    func end(_ silence: DaemonLink.Silence) throws {
        try show(["error": silence.text]) { terminal in
            terminal.styled(Table.printable(silence.text), silence.status == .failure ? .bad : .warning)
        }
        throw silence.status.code
    }
}

/// When, as 2026-11-24T11:00:00Z.
func instant(_ seconds: Int) -> String {
    Date(timeIntervalSince1970: TimeInterval(seconds)).formatted(.iso8601)
}
