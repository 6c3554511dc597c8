internal import Glibc

/// Files that systemd passes to the service (`%d/` in settings). A shell does not have their location in its
/// environment.
enum ServiceCredentials {
    private static let folder = "/run/credentials/tlshd.service"

    /// Sets the location that systemd uses for tlshd.service, unless it is set.
    static func adopt() { _ = unsafe setenv("CREDENTIALS_DIRECTORY", folder, 0) }

    /// Returns `true` if a path refers to such a file and the directory does not exist, because the service does not
    /// run.
    static func areGone(_ path: String) -> Bool {
        guard path.hasPrefix("%d/"), let folder = unsafe getenv("CREDENTIALS_DIRECTORY") else { return false }
        return unsafe access(folder, F_OK) != 0
    }
}
