internal import Glibc

/// The files that systemd gives to the service (`%d/` in settings): a shell has not been told where they are.
enum ServiceCredentials {
    private static let folder = "/run/credentials/tlshd.service"

    /// Looks for them where systemd keeps those of tlshd.service, unless told otherwise.
    static func adopt() { _ = unsafe setenv("CREDENTIALS_DIRECTORY", folder, 0) }

    /// Whether a path is such a file's, and nobody can look at it, as the service does not run.
    static func areGone(_ path: String) -> Bool {
        guard path.hasPrefix("%d/"), let folder = unsafe getenv("CREDENTIALS_DIRECTORY") else { return false }
        return unsafe access(folder, F_OK) != 0
    }
}
