package import Handshake

/// The files that settings are read from. The caller does the reading.
///
/// The order is that of ktls-utils: only the file on the command line, if given; else `/etc/tlshd.conf`; else
/// `/etc/tlshd/config`. Without a file on the command line the files in `/etc/tlshd/config.d` are added, sorted by
/// name; later files override earlier ones. Defaults apply to everything else.
package struct ConfigurationSearch: Equatable, Sendable {
    /// Path on the command line.
    package let explicitPath: String?

    package init(explicitPath: String?) {
        self.explicitPath = explicitPath
    }

    package static let legacyPath = "/etc/tlshd.conf"
    package static let standardPath = "/etc/tlshd/config"
    /// Its files that end in `.conf` are read, except hidden ones.
    package static let folder = "/etc/tlshd/config.d"

    /// Files that affect the result of `load`, besides those in `folder`.
    package var watchedPaths: [String] {
        explicitPath.map { [$0] } ?? [Self.legacyPath, Self.standardPath]
    }

    /// Directories whose files are added.
    package var folders: [String] { explicitPath == nil ? [Self.folder] : [] }

    /// Reads a whole file; `nil` if there is none.
    package typealias Reader = (_ path: String) throws(ConfigurationError) -> [UInt8]?
    /// Lists the names in a directory in any order; empty if there is none.
    package typealias Lister = (_ folder: String) throws(ConfigurationError) -> [String]

    /// Finds and reads the settings. `inForce` is the source of the current settings on a reload, `nil` at start.
    /// Throws if that file is now broken, or missing without a replacement, so that the daemon keeps its settings. If
    /// the file was moved to the other location, the new location is used.
    package func load(
        inForce: ConfigurationSource? = nil, read: Reader, list: Lister
    ) throws(ConfigurationError) -> LoadedConfiguration {
        let main = try findMain(inForce, read)
        var documents = main.document.map { [$0] } ?? []
        let dropIns = try dropIns(list)
        for path in dropIns {
            guard let document = try Self.document(path, read) else {
                throw .unreadable(path: path, reason: "it is a dangling link, or was just removed")
            }
            documents.append(document)
        }
        return LoadedConfiguration(
            source: main.source, dropIns: dropIns, settings: try ConfigurationError.of(try DaemonSettings(documents)),
            notices: main.notices, errors: main.errors)
    }

    /// Paths of the added files in the order in which they are read.
    package func dropIns(_ list: Lister) throws(ConfigurationError) -> [String] {
        guard explicitPath == nil else { return [] }
        return try list(Self.folder).filter { $0.hasSuffix(".conf") && !$0.hasPrefix(".") }
            .sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }.map { "\(Self.folder)/\($0)" }
    }

    /// The main file, to which the others are added.
    private struct Main {
        var source = ConfigurationSource.defaults
        var document: INIDocument?
        var notices: [String] = []
        var errors: [TextError] = []
    }

    private func findMain(_ inForce: ConfigurationSource?, _ read: Reader) throws(ConfigurationError) -> Main {
        if let explicitPath {
            guard let document = try Self.sound(explicitPath, read) else { throw .missing(path: explicitPath) }
            return Main(source: .file(path: explicitPath), document: document)
        }
        let legacy: INIDocument?
        do {
            legacy = try Self.sound(Self.legacyPath, read)
        } catch {
            guard inForce != .file(path: Self.legacyPath), error.isSkippedByKtlsUtils else { throw error }
            return try Self.find(insteadOf: error, read)
        }
        if let legacy {
            return Main(source: .file(path: Self.legacyPath), document: legacy, notices: [Self.relocationNotice])
        }
        if let document = try Self.sound(Self.standardPath, read) {
            return Main(source: .file(path: Self.standardPath), document: document)
        }
        if case .file(let path) = inForce { throw .missing(path: path) }
        return Main()
    }

    /// Starts with the text that ktls-utils logs, because guides refer to it.
    package static let relocationNotice =
        "Please relocate \(legacyPath) to \(standardPath); while it exists, \(standardPath) is not read"

    /// Falls back from a legacy file that cannot be read or parsed, as ktls-utils does, but only if the standard file
    /// exists and is valid.
    private static func find(insteadOf legacyError: ConfigurationError, _ read: Reader) throws(ConfigurationError)
        -> Main
    {
        let document: INIDocument?
        do {
            document = try sound(standardPath, read)
        } catch {
            throw .bothBroken(legacy: legacyError, standard: error)
        }
        guard let document else { throw legacyError }
        let (parts, outcome) = (legacyError.parts, "; using \(standardPath) instead")
        let error = TextError(
            problem: parts.problem + outcome, remedy: parts.remedy, description: parts.description + outcome)
        return Main(source: .file(path: standardPath), document: document, errors: [error])
    }

    /// Reads a file and checks that it is valid on its own.
    private static func sound(_ path: String, _ read: Reader) throws(ConfigurationError) -> INIDocument? {
        guard let document = try document(path, read) else { return nil }
        _ = try ConfigurationError.of(try DaemonSettings([document]))
        return document
    }

    private static func document(_ path: String, _ read: Reader) throws(ConfigurationError) -> INIDocument? {
        guard let bytes = try read(path) else { return nil }
        return try ConfigurationError.of(try INIDocument.parse(bytes, file: path))
    }
}

/// Origin of the main settings.
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

/// Settings, and what to log about how they were found.
package struct LoadedConfiguration: Equatable, Sendable {
    package let source: ConfigurationSource
    /// Paths of the added files, in the order in which they were read.
    package let dropIns: [String]
    /// Includes their own notices.
    package let settings: DaemonSettings
    /// Messages about the choice of the file, one line each.
    package let notices: [String]
    /// Errors about files that were skipped because they are broken, one line each.
    package let errors: [TextError]

    init(
        source: ConfigurationSource, dropIns: [String] = [], settings: DaemonSettings, notices: [String] = [],
        errors: [TextError] = []
    ) {
        self.source = source
        self.dropIns = dropIns
        self.settings = settings
        self.notices = notices
        self.errors = errors
    }
}

/// No settings can be loaded. `description` is one line.
package enum ConfigurationError: Error, Equatable, Sendable {
    case missing(path: String)
    /// The file or directory exists and cannot be read. The reason is the text of a system error.
    case unreadable(path: String, reason: String)
    /// The file or directory must not be used.
    case refused(path: String, reason: String, remedy: String)
    case invalid(SettingsError)
    indirect case bothBroken(legacy: ConfigurationError, standard: ConfigurationError)
}

extension ConfigurationError {
    /// The value of a call that parses files.
    package static func of<Value>(
        _ call: @autoclosure () throws(SettingsError) -> Value
    ) throws(ConfigurationError) -> Value {
        do throws(SettingsError) {
            return try call()
        } catch {
            throw .invalid(error)
        }
    }

    /// True if ktls-utils would read the next file instead. A file that ktls-utils would accept is never skipped,
    /// because the next file may have weaker rules for peers.
    fileprivate var isSkippedByKtlsUtils: Bool {
        switch self {
        case .unreadable: true
        case .invalid(let error): if case .syntax = error.problem { true } else { false }
        case .missing, .refused, .bothBroken: false
        }
    }
}

extension ConfigurationError: CustomStringConvertible {
    package var description: String { parts.description }

    package var parts: TextError {
        switch self {
        case .missing(let path):
            TextError("\(path): file not found", remedy: "create it, or name another with -c", joint: "; ")
        case .unreadable(let path, let reason):
            TextError(
                "\(path): cannot be read (\(reason))", remedy: "make it a regular file that root can read", joint: "; ")
        case .refused(let path, let reason, let remedy):
            TextError("\(path): is refused (\(reason))", remedy: remedy, joint: "; ")
        case .invalid(let error): error.parts
        case .bothBroken(let legacy, let standard):
            TextError(
                problem: "\(legacy.parts.problem); and \(standard.parts.problem)",
                remedy: [legacy.parts.remedy, standard.parts.remedy].compactMap(\.self).joined(separator: "; and "),
                description: "\(legacy); and \(standard)")
        }
    }
}
