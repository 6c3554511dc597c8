import Foundation
import System
import TestSupport
import Testing
import Unconfined

@testable import Sandbox

/// Code that runs inside the worker's sandbox, in a process of its own, and tries what a taken-over worker would.
@Suite("Inside the sandbox")
struct SandboxTests {
    static let program = Product.path("SandboxProbe")

    static let attempts: [String] = {
        let text = (try? Command.run(program, "list")) ?? ""
        return text.split(separator: "\n").map(String.init)
    }()

    private func probe(_ mode: String, _ name: String) throws -> ChildProcess.End {
        let child = try ChildProcess.spawn(
            Self.program, arguments: [Self.program, mode, name], environment: ["SWIFT_BACKTRACE=enable=no"],
            descriptors: [])
        return try child.wait()
    }

    @Test("the sandbox itself leaves a process alive, so that what dies below dies of what it tried")
    func alive() throws {
        #expect(Self.attempts.count >= 40)
        #expect(try probe("filtered", "nothing") == .exited(status: 0))
        #expect(try probe("unfiltered", "nothing") == .exited(status: 0))
    }

    @Test("every attempt ends the process with SIGSYS", arguments: attempts)
    func killed(attempt: String) throws {
        #expect(try probe("filtered", attempt) == .killed(signal: SIGSYS))
    }

    @Test("the signer's sandbox, with keys in files, ends the process as well", arguments: attempts)
    func signerKilled(attempt: String) throws {
        #expect(try probe("signing", attempt) == .killed(signal: SIGSYS))
    }

    @Test(
        "with tokens it still executes nothing, and touches no other process, keyring or namespace",
        arguments: [
            ("execute", [EPERM, EACCES]), ("trace_parent", [EPERM]), ("read_parent", [EPERM]), ("add_key", [EPERM]),
            ("become_root", [EPERM]), ("new_namespace", [EPERM]), ("use_bpf", [EPERM]), ("use_io_uring", [EPERM]),
            ("watch_performance", [EPERM]), ("read_memory", [EACCES]), ("use_forgotten_socket", [EBADF]),
            ("clone_namespace", [EPERM]), ("clone3_namespace", [ENOSYS]), ("open_file_system", [EPERM]),
            ("nothing", [0]), ("open_file", [0]), ("make_socket", [0]), ("start_process", [0]), ("start_thread", [0]),
        ] as [(String, Set<Int32>)])
    func tokens(attempt: String, errors: Set<Int32>) throws {
        guard case .exited(let status) = try probe("tokens", attempt) else {
            Issue.record("\(attempt) killed the process")
            return
        }
        #expect(errors.contains(status), "\(attempt): \(Errno(status).name)")
    }

    @Test("the signer has the groups that list it, but never root's")
    func groups() {
        let text =
            "root:x:0:tlshd\ntss:x:110:a,tlshd\nsofthsm:x:111:tlshd\nother:x:112:tlshd2\nbad:x:x:tlshd\nshort:x:5\n"
        let user = ConfinedUser.find(["tlshd"], in: Array("tlshd:x:990:985:::\n".utf8).span)
        #expect(user.groups(in: Array(text.utf8).span) == [110, 111])
        #expect(ConfinedUser.find(["tlshd"], in: [UInt8]().span).groups(in: Array(text.utf8).span) == [])
    }

    @Test("a descriptor that was left open by mistake is closed")
    func forgotten() throws {
        #expect(try probe("filtered", "use_forgotten_socket") == .exited(status: EBADF))
    }

    /// What the loss of user, capabilities and limits, and Landlock, refuse by themselves.
    static let unfiltered: [(String, Set<Int32>)] = [
        ("open_file", [EACCES, ENOENT]), ("read_memory", [EACCES, ENOENT]),
        ("create_file", [EACCES, ENOENT]), ("connect_socket", [EACCES]), ("bind_socket", [EACCES]),
        ("execute", [EACCES, EAGAIN, ENOENT]), ("start_process", [EAGAIN]), ("become_root", [EPERM]),
        ("raise_limit", [EPERM]),
        ("trace_parent", [EPERM]), ("signal_parent", [EPERM]), ("signal_thread", [EPERM]),
        ("read_parent", [EPERM]), ("watch_performance", [EACCES, EPERM, EFAULT]),
    ]

    @Test(
        "without the filter of system calls, the layers below it refuse on their own",
        .enabled(
            if: Landlock.version >= 4 && geteuid() == 0, "needs root and a kernel with Landlock of ABI 4 or later"),
        arguments: unfiltered)
    func refused(attempt: String, errors: Set<Int32>) throws {
        guard case .exited(let status) = try probe("unfiltered", attempt) else {
            Issue.record("\(attempt) killed the process")
            return
        }
        #expect(errors.contains(status), "\(attempt): \(status == 0 ? "it worked" : Errno(status).name)")
    }

    @Test(
        "without Landlock, no path leads out of the new root directory", .enabled(if: geteuid() == 0, "needs root"),
        arguments: ["open_file", "read_proc", "read_memory", "create_file", "remove_file", "look_at_file"])
    func rooted(attempt: String) throws {
        #expect(try probe("rooted", attempt) == .exited(status: ENOENT), "\(attempt)")
    }

    @Test("a process that allocates without end is refused memory, and dies of that where it cannot go on")
    func memory() throws {
        for mode in ["filtered", "signing", "tokens"] {
            #expect(try probe(mode, "allocate") == .exited(status: ENOMEM), "\(mode)")
        }
        #expect(try probe("filtered", "allocate_in_swift").isFault)
    }

    @Test("no file can be made to grow")
    func growth() throws {
        #expect(try probe("unfiltered", "resize_file") == .killed(signal: SIGXFSZ))
    }

    @Test(
        "a user is found by its line in passwd, and only with numbers that are nobody's and not root's",
        arguments: [
            ("root:x:0:0::/:/bin/sh\ntlshd:x:990:985:TLS:/:/usr/sbin/nologin\n", 990),
            ("tlshd:x:0:985:::\n", nil), ("tlshd:x:990:0:::\n", nil), ("tlshd:x:-1:5:::\n", nil),
            ("tlshd2:x:990:985:::\n", nil), ("tlshd:x:990\n", nil), ("", nil),
            ("tlshd:x:4294967295:985:::\n", nil),
        ] as [(String, UInt32?)])
    func passwd(text: String, expected: UInt32?) {
        let found = ConfinedUser.find(["tlshd"], in: Array(text.utf8).span)
        #expect(found.user == expected ?? 65_534 && found.group == (expected == nil ? 65_534 : 985))
        #expect(
            found.lacking
                == (expected == nil ? "the user tlshd is missing (systemd-sysusers); using nobody instead" : nil))
    }

    @Test("the signer has a user of its own; without it, it has that of the workers, and says so")
    func signerUser() {
        let names = [ConfinedUser.signer, ConfinedUser.worker]
        let both = "tlshd:x:990:985:::\ntlshd-signer:x:991:986:::\n", one = "tlshd:x:990:985:::\n"
        let own = ConfinedUser.find(names, in: Array(both.utf8).span)
        #expect(own.user == 991 && own.group == 986 && own.lacking == nil)
        let shared = ConfinedUser.find(names, in: Array(one.utf8).span)
        #expect(shared.user == 990)
        #expect(shared.lacking == "the user tlshd-signer is missing (systemd-sysusers); using tlshd instead")
    }
}
