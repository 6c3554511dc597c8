/// `[control]`: the control socket.
package struct ControlSettings: Equatable, Sendable {
    /// `socket`: absolute path; `nil` for none.
    package var socket: String? = standardSocket
    /// `group`: group whose members may connect besides root.
    package var group: String?

    package static let standardSocket = "/run/tlshd/control"
    /// sun_path without its NUL and without the suffix of the temporary name.
    private static let longest = 90

    package init() {}

    fileprivate static func isUsable(_ path: String) -> Bool {
        path.hasPrefix("/") && !path.hasSuffix("/") && path.utf8.count <= longest
    }
}

extension SettingsReader {
    /// Reads `[control]`. An invalid value leaves the default, which admits only root.
    mutating func control() -> ControlSettings {
        var settings = ControlSettings()
        if let (path, found) = pathText(.controlSocket) {
            if path == "none" {
                settings.socket = nil
            } else if ControlSettings.isUsable(path) {
                settings.socket = path
            } else {
                notice(found, "\(found.name) must be an absolute path of at most 90 bytes, or none, and is ignored")
            }
        }
        note(.controlSocket, settings.socket ?? "none", find(.controlSocket))
        settings.group = pathText(.controlGroup)?.text
        note(.controlGroup, settings.group ?? "none, root alone", find(.controlGroup))
        return settings
    }

    /// Text without control characters, such as a path or name; `nil` if it is not set or invalid.
    mutating func pathText(_ key: SettingKey) -> (text: String, found: Found)? {
        guard let found = find(key) else { return nil }
        do {
            return (try found.value.path(), found)
        } catch {
            noticeUnreadable(found, error)
            return nil
        }
    }
}
