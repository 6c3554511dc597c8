/// Which file the settings come from. Decides only; reading is the caller's.
///
/// The order is that of ktls-utils: a file named on the command line and no other; else `/etc/tlshd.conf`; else
/// `/etc/tlshd/config`. Files are never merged. Where no file is, the daemon runs with its defaults.
package struct ConfigurationSearch: Equatable, Sendable {
    /// The file named on the command line.
    package let explicitPath: String?

    package init(explicitPath: String?) {
        self.explicitPath = explicitPath
    }

    package static let legacyPath = "/etc/tlshd.conf"
    package static let standardPath = "/etc/tlshd/config"

    /// The files whose change can change what `load` returns.
    package var watchedPaths: [String] {
        explicitPath.map { [$0] } ?? [Self.legacyPath, Self.standardPath]
    }

    /// Reads a file whole; nil when there is none by that name.
    package typealias Reader = (_ path: String) throws(ReadFailure) -> [UInt8]?

    /// Finds and reads the settings. `inForce` is the source of the settings that the daemon runs with when it reads
    /// them again, nil at its start. When that file is broken now, or the only one and gone, this throws, so that the
    /// daemon stays with what it has; a file that is merely moved to the other place is followed.
    package func load(
        inForce: ConfigurationSource? = nil, read: Reader
    ) throws(ConfigurationError) -> LoadedConfiguration {
        if let explicitPath {
            guard let settings = try Self.settings(explicitPath, read) else { throw .missing(path: explicitPath) }
            return LoadedConfiguration(source: .file(path: explicitPath), settings: settings)
        }
        let legacy: DaemonSettings?
        do {
            legacy = try Self.settings(Self.legacyPath, read)
        } catch {
            guard inForce != .file(path: Self.legacyPath) else { throw error }
            return try Self.load(insteadOf: error, read)
        }
        if let legacy {
            return LoadedConfiguration(
                source: .file(path: Self.legacyPath), settings: legacy, notices: [Self.relocationNotice])
        }
        if let settings = try Self.settings(Self.standardPath, read) {
            return LoadedConfiguration(source: .file(path: Self.standardPath), settings: settings)
        }
        if case .file(let path) = inForce { throw .missing(path: path) }
        return LoadedConfiguration(source: .defaults, settings: DaemonSettings())
    }

    /// The beginning is what ktls-utils logs, which guides tell people to look for.
    package static let relocationNotice =
        "Please relocate \(legacyPath) to \(standardPath); as long as it is there, \(standardPath) is not read"

    /// Passes over a broken legacy file, as ktls-utils does, but only for a standard one that is there and sound.
    private static func load(
        insteadOf legacyError: ConfigurationError, _ read: Reader
    ) throws(ConfigurationError) -> LoadedConfiguration {
        let settings: DaemonSettings?
        do {
            settings = try Self.settings(standardPath, read)
        } catch {
            throw .bothBroken(legacy: legacyError, standard: error)
        }
        guard let settings else { throw legacyError }
        return LoadedConfiguration(
            source: .file(path: standardPath), settings: settings,
            errors: ["\(legacyError); using \(standardPath) instead"])
    }

    private static func settings(_ path: String, _ read: Reader) throws(ConfigurationError) -> DaemonSettings? {
        let bytes: [UInt8]?
        do {
            bytes = try read(path)
        } catch {
            throw .unreadable(path: path, error)
        }
        guard let bytes else { return nil }
        do {
            return try DaemonSettings.read(bytes, file: path)
        } catch {
            throw .invalid(error)
        }
    }
}

/// Where settings came from.
package enum ConfigurationSource: Equatable, Sendable, CustomStringConvertible {
    case file(path: String)
    case defaults

    package var description: String {
        switch self {
        case .file(let path): path
        case .defaults: "built-in defaults"
        }
    }
}

/// Settings to run with, and what is to be logged about how they were found.
package struct LoadedConfiguration: Equatable, Sendable {
    package let source: ConfigurationSource
    /// With its own notices.
    package let settings: DaemonSettings
    /// One line each, about the choice of the file.
    package let notices: [String]
    /// One line each: a file that was passed over, as it is broken.
    package let errors: [String]

    init(source: ConfigurationSource, settings: DaemonSettings, notices: [String] = [], errors: [String] = []) {
        self.source = source
        self.settings = settings
        self.notices = notices
        self.errors = errors
    }
}

/// Why a file that exists could not be read.
package struct ReadFailure: Error, Equatable, Sendable {
    /// The system's words, such as "Permission denied".
    package let reason: String

    package init(reason: String) {
        self.reason = reason
    }
}

/// There are no settings to run with. `description` is one line.
package enum ConfigurationError: Error, Equatable, Sendable {
    case missing(path: String)
    case unreadable(path: String, ReadFailure)
    case invalid(SettingsError)
    indirect case bothBroken(legacy: ConfigurationError, standard: ConfigurationError)
}

extension ConfigurationError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .missing(let path): "\(path): there is no such file; put it there, or start tlshd with another -c FILE"
        case .unreadable(let path, let failure):
            "\(path): cannot be read (\(failure.reason)); make it a regular file that root can read"
        case .invalid(let error): "\(error)"
        case .bothBroken(let legacy, let standard): "\(legacy); and \(standard)"
        }
    }
}
