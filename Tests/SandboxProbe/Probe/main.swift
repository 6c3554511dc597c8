import CAttempts
import Glibc
import Sandbox
import System
import Wire

// SandboxProbe list                  prints the names of all attempts
// SandboxProbe filtered ATTEMPT      enters the worker's sandbox and tries it; "nothing" tries nothing
// SandboxProbe signing ATTEMPT       the same for the signer's
// SandboxProbe tokens ATTEMPT        the same for the signer's where it uses tokens
// SandboxProbe unfiltered ATTEMPT    the same, but for the filter of system calls
// SandboxProbe rooted ATTEMPT        the same, but for Landlock, too
//
// Besides the attempts of the list: "nothing"; "layers", which prints what the sandbox consists of; "allocate" and
// "allocate_in_swift", which allocate memory without end.
//
// Exit statuses: 0 it worked, the errno with which it was refused, 201 usage, 202 the sandbox cannot be entered,
// 203 the sandbox is not whole here.

/// O_TMPFILE, which Glibc does not import, with O_DIRECTORY, whose number depends on the processor.
private let temporaryFile: Int32 = 0o20_000_000 | O_DIRECTORY | O_RDWR
private let netlinkGeneric: Int32 = 16
private let memoryLimit: UInt64 = 64 << 20

private func run(_ mode: String, _ name: String) throws(SystemError) -> Int32 {
    let tcp = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var pair: [Int32] = [0, 0]
    guard unsafe socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &pair) == 0 else { throw .last("socketpair") }
    let file = unsafe open("/tmp", temporaryFile, 0o600)
    // What a worker must not inherit; it is not among what is kept.
    let forgotten = socket(AF_NETLINK, Int32(SOCK_RAW.rawValue), netlinkGeneric)
    let means = attempt_means(tcp: tcp, connected: pair[0], file: file, parent: getppid())
    let kept = [tcp, pair[0], pair[1], file]
    let user = ConfinedUser.find([ConfinedUser.worker])
    let confinement: Confinement
    switch mode {
    case "filtered": confinement = try Sandbox.enter(keeping: kept, as: user, memoryLimit: memoryLimit)
    case "signing": confinement = try Sandbox.enter(keeping: kept, as: user, memoryLimit: memoryLimit, for: .signing)
    case "tokens": confinement = try Sandbox.enterWithTokens(keeping: kept, as: user, memoryLimit: memoryLimit)
    default:
        confinement = try Sandbox.dropPrivileges(
            keeping: kept, as: user, memoryLimit: memoryLimit,
            hasLandlock: mode == "unfiltered" && Landlock.version > 0)
    }
    guard mode == "rooted" || !confinement.lacking.contains(where: { $0.contains("the kernel") }) else { return 203 }
    switch name {
    case "nothing": return 0
    case "layers":
        for layer in confinement.layers { print(layer) }
        return 0
    case "allocate":
        // Not malloc, which an optimizer removes where nothing uses the memory.
        while unsafe mmap(nil, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED {}
        return errno
    case "allocate_in_swift":
        var arrays: [[UInt8]] = []
        while true { arrays.append([UInt8](repeating: 1, count: 1 << 20)) }
    case "use_forgotten_socket":
        return unsafe send(forgotten, "x", 1, Int32(MSG_DONTWAIT) | Int32(MSG_NOSIGNAL)) == -1 ? errno : 0
    default: return unsafe attempt(name, means)
    }
}

private func main() -> Int32 {
    let arguments = CommandLine.arguments
    if arguments.dropFirst() == ["list"] {
        for index in 0..<attempt_count { print(unsafe String(cString: attempt_name(index))) }
        return 0
    }
    guard arguments.count == 3, ["filtered", "signing", "tokens", "unfiltered", "rooted"].contains(arguments[1]) else {
        return 201
    }
    do throws(SystemError) {
        return try run(arguments[1], arguments[2])
    } catch {
        let line = Array("\(error.description)\n".utf8)
        _ = unsafe write(STDERR_FILENO, line, line.count)
        return 202
    }
}

exit(main())
