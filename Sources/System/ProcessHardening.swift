internal import CLinux
internal import Glibc

/// Hardening that every process of the daemon applies first.
package enum ProcessHardening {
    /// Forbids core dumps and ptrace by the same user, because memory contains keys. Raises the limit of open
    /// descriptors to its maximum: each handshake takes one, and a failing ACCEPT loses its request
    /// (net/handshake/netlink.c).
    ///
    /// - Returns: The limit of open descriptors now in force.
    @discardableResult
    package static func apply() throws(SystemError) -> Int {
        guard linux_forbid_dump() == 0 else { throw .last("prctl PR_SET_DUMPABLE") }
        var none = rlimit(rlim_cur: 0, rlim_max: 0)
        guard unsafe setrlimit(Int32(RLIMIT_CORE.rawValue), &none) == 0 else { throw .last("setrlimit RLIMIT_CORE") }
        var files = rlimit()
        guard unsafe getrlimit(Int32(RLIMIT_NOFILE.rawValue), &files) == 0 else {
            throw .last("getrlimit RLIMIT_NOFILE")
        }
        files.rlim_cur = files.rlim_max
        guard unsafe setrlimit(Int32(RLIMIT_NOFILE.rawValue), &files) == 0 else {
            throw .last("setrlimit RLIMIT_NOFILE")
        }
        return Int(clamping: files.rlim_cur)
    }

    /// Ignores SIGPIPE. It reaches a process that only closes a socket, if kernel TLS has records left to send and the
    /// peer has reset the connection (`tls_sk_proto_close` in net/tls/tls_main.c).
    package static func ignoreBrokenPipes() { _ = signal(SIGPIPE, SIG_IGN) }
}
