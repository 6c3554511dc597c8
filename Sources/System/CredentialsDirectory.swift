internal import Glibc

/// Files that the service manager gives to this service alone (LoadCredential= of systemd.exec(5)).
enum CredentialsDirectory {
    /// Replaces `%d/` at the start of a path by that folder, as the unit's own settings do; other paths stay as they
    /// are.
    static func resolve(_ path: String) -> String {
        guard path.hasPrefix("%d/"), let value = unsafe getenv("CREDENTIALS_DIRECTORY") else { return path }
        return unsafe String(cString: value) + path.dropFirst(2)
    }
}
