/// `[control]`: the socket that tlshctl asks.
package struct ControlSettings: Equatable, Sendable {
    /// `socket`: its path, absolute; `nil` for none.
    package var socket: String? = standardSocket
    /// `group`: whose members may ask besides root.
    package var group: String?

    package static let standardSocket = "/run/tlshd/control"
    /// sun_path less its NUL, and less what a passing name adds to it.
    private static let longest = 90

    package init() {}

    fileprivate static func isUsable(_ path: String) -> Bool {
        path.hasPrefix("/") && !path.hasSuffix("/") && path.utf8.count <= longest
    }
}

extension SettingsReader {
    /// What cannot be used leaves the default, by which nobody but root may ask.
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

    /// A text that may have no control characters, as paths and names; `nil` where it is not set or cannot be read.
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
