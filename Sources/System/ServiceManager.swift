internal import Glibc

/// The service manager that started us, if it wants to hear from us (sd_notify(3)).
package enum ServiceManager {
    /// Sends `state`, such as `READY=1\nSTATUS=…`, to the socket that NOTIFY_SOCKET names.
    ///
    /// - Returns: whether anybody was told: `false` without NOTIFY_SOCKET.
    @discardableResult
    package static func notify(_ state: String) throws(SystemError) -> Bool {
        guard let value = unsafe getenv("NOTIFY_SOCKET") else { return false }
        let path = unsafe String(cString: value)
        guard path.hasPrefix("/") || path.hasPrefix("@") else {
            throw SystemError("NOTIFY_SOCKET", EAFNOSUPPORT, path)
        }
        try UnixDatagram().send(Array(state.utf8), to: path)
        return true
    }
}
