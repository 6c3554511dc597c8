internal import Broker
internal import Handshake
internal import Settings
internal import System
internal import Unconfined

/// Checks that the settings can be read, and reports tlshd's notices about them.
struct SettingsCheck {
    /// Settings in force; the defaults if they are broken.
    private(set) var settings = DaemonSettings()
    /// True if the settings are valid, so that other checks can use them.
    private(set) var areUsable = false
    private(set) var findings: [Finding] = []

    /// - Parameters:
    ///   - running: the settings of the tlshd that runs, which are checked unless the options name others.
    ///   - tags: directory of session tags.
    init(
        _ options: ConfigurationOptions, running: RunningSettings? = nil, tags: String = SessionTagsReader.folder
    ) {
        let path = options.configuration ?? running?.explicitPath
        do throws(ConfigurationError) {
            let loaded = try ConfigurationOptions.load(path)
            settings = loaded.settings
            areUsable = true
            if options.configuration == nil, let running, loaded.files != running.files {
                add(
                    .warning, "tlshd runs with the settings of \(running.source), and these are from \(loaded.listing)",
                    remedy: "systemctl reload tlshd")
            }
            report(loaded, ConfigurationSearch(explicitPath: path).folders)
        } catch {
            add(error, "")
        }
        checkTags(tags)
    }

    /// Adds an error. If the file is only unreadable for this user, its state is unknown.
    private mutating func add(_ error: ConfigurationError, _ label: String) {
        let isDenied = ThisProcess.user != 0 && error.description.contains("EACCES")
        findings.append(Finding(.settings, isDenied ? .unknown : .failed, error.parts.introduced(by: label)))
    }

    private mutating func add(_ severity: Status, _ text: String, remedy: String? = nil) {
        findings.append(Finding(.settings, severity, text, remedy: remedy))
    }

    private mutating func report(_ loaded: LoadedConfiguration, _ folders: [String]) {
        for error in loaded.errors { findings.append(Finding(.settings, .warning, error)) }
        var files = loaded.dropIns
        switch loaded.source {
        case .file(let path): files.insert(path, at: 0)
        case .defaults where files.isEmpty:
            add(.note, "there is no configuration file: tlshd runs with its defaults")
        case .defaults: break
        }
        if !files.isEmpty { add(.ok, "settings are from \(files.joined(separator: ", "))") }
        checkAccess(files: files, folders: folders)
        if let assumption = ServiceView.current.assumption { add(.note, assumption) }
        for notice in loaded.notices { add(.note, notice) }
        for notice in loaded.settings.notices {
            findings.append(Finding(.settings, .warning, notice.parts))
        }
        checkControl(loaded.settings.control)
        checkMetrics(loaded.settings.metrics)
    }

    /// File, line and name of a setting, as prefix of a message.
    private func place(_ section: String, _ key: String) -> String {
        let setting = settings.effective.first { $0.section == section && $0.key == key }
        guard case .line(let file, let line) = setting?.origin else { return "[\(section)] \(key)" }
        return "\(file):\(line): [\(section)] \(key)"
    }

    private mutating func checkControl(_ control: ControlSettings) {
        guard let socket = control.socket else { return }
        if let group = control.group, (try? UnixListener.identifier(ofGroup: group)) == nil {
            add(
                .warning,
                "\(place("control", "group")): /etc/group has no group \(group), so tlshd has no control socket",
                remedy: "groupadd \(group), or name another")
        }
        // The last directory is created if it is missing.
        let folder = Self.folder(of: Self.folder(of: socket))
        if !Self.isFolder(folder) {
            add(
                .warning, "\(place("control", "socket")): there is no folder \(folder), so tlshd has no control socket",
                remedy: "make it, or name another path")
        }
    }

    private mutating func checkMetrics(_ metrics: MetricsSettings) {
        guard let textfile = metrics.textfile else { return }
        let folder = Self.folder(of: textfile)
        let place = place("metrics", "textfile")
        if !Self.isFolder(folder) {
            add(.warning, "\(place): there is no folder \(folder), so that nothing is written", remedy: "make it")
        } else if let identity = try? FileIdentity(ofPath: folder), identity.owner != 0 {
            add(.warning, "\(place): \(folder) belongs to uid \(identity.owner)", remedy: "chown root \(folder)")
        }
    }

    private static func folder(of path: String) -> String {
        let folder = path.prefix(upTo: path.lastIndex(of: "/") ?? path.startIndex)
        return folder.isEmpty ? "/" : String(folder)
    }

    private static func isFolder(_ path: String) -> Bool {
        (try? FileIdentity(ofPath: path))?.isFolder ?? false
    }

    /// Checks session tags. One error in a file prevents tlshd from starting.
    private mutating func checkTags(_ folder: String) {
        do throws(ConfigurationError) {
            let paths = try TagFolder.paths(in: folder)
            let tags = try TagFolder.read(paths)
            checkAccess(files: paths, folders: [folder])
            guard !paths.isEmpty else { return }
            let names = tags.tags.map(\.name).joined(separator: ", ")
            add(.ok, "session tags of \(paths.joined(separator: ", ")): \(names.isEmpty ? "none" : names)")
        } catch {
            add(error, "session tags: ")
        }
    }

    /// Checks which other users can change the settings. Files of the user who runs this are refused by a service that
    /// runs as root.
    private mutating func checkAccess(files: [String], folders: [String]) {
        for finding in SettingsExposure.findings(files: files, folders: folders) where !isTold(finding.text) {
            add(.warning, finding.text, remedy: finding.remedy)
        }
        for path in files {
            if let finding = ServiceView.current.finding(on: path, .settings) { findings.append(finding) }
            guard let owner = (try? FileIdentity(ofPath: path))?.owner, owner != 0 else { continue }
            add(.failed, "\(path) belongs to uid \(owner): tlshd refuses it", remedy: "chown root \(path)")
        }
    }

    private func isTold(_ text: String) -> Bool { findings.contains { $0.text == text } }
}
