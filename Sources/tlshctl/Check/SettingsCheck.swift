internal import Glibc
internal import Settings
internal import System

/// Whether the settings can be read, and what tlshd would say about them.
struct SettingsCheck {
    /// Those in force; the defaults where they are broken.
    private(set) var settings = DaemonSettings()
    /// Whether there is anything to check them by.
    private(set) var areUsable = false
    private(set) var findings: [Finding] = []

    init(_ options: ConfigurationOptions) {
        do throws(ConfigurationError) {
            let loaded = try options.load()
            settings = loaded.settings
            areUsable = true
            report(loaded)
        } catch {
            let isDenied = geteuid() != 0 && error.description.contains("EACCES")
            add(isDenied ? .unknown : .failure, error.description)
        }
    }

    private mutating func add(_ severity: Finding.Severity, _ text: String, remedy: String? = nil) {
        findings.append(Finding(.settings, severity, text, remedy: remedy))
    }

    private mutating func report(_ loaded: LoadedConfiguration) {
        for error in loaded.errors { add(.warning, error) }
        var files = loaded.dropIns
        switch loaded.source {
        case .file(let path): files.insert(path, at: 0)
        case .defaults where files.isEmpty:
            add(.notice, "there is no configuration file: tlshd runs with its defaults")
        case .defaults: break
        }
        if !files.isEmpty { add(.good, "settings are from \(files.joined(separator: ", "))") }
        for file in files { checkOwner(of: file) }
        for notice in loaded.notices { add(.notice, notice) }
        for notice in loaded.settings.notices { add(.warning, notice.description) }
    }

    private mutating func checkOwner(of path: String) {
        guard let identity = try? FileIdentity(ofPath: path) else { return }
        if identity.mode & 0o022 != 0 {
            add(.warning, "\(path) can be written by others", remedy: "chmod go-w \(path)")
        }
        if identity.owner != 0 {
            add(.warning, "\(path) belongs to uid \(identity.owner), not to root", remedy: "chown root \(path)")
        }
    }
}
