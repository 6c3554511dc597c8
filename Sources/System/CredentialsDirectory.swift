/// Files that the service manager passes to this service (LoadCredential= of systemd.exec(5)).
package enum CredentialsDirectory {
    /// Replaces a leading `%d/` by that directory, as in the settings of the unit. Other paths are unchanged.
    package static func resolve(_ path: String) -> String {
        guard path.hasPrefix("%d/"), let folder = Environment.value(of: "CREDENTIALS_DIRECTORY") else { return path }
        return folder + path.dropFirst(2)
    }
}
