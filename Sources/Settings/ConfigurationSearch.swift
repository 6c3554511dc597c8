/// Which files the settings come from. Decides only; reading is the caller's.
///
/// The order is that of ktls-utils: a file named on the command line and no other; else `/etc/tlshd.conf`; else
/// `/etc/tlshd/config`. To these two the files of `/etc/tlshd/config.d` are added, sorted by name: what stands in a
/// later one counts. Where no file is, the daemon runs with its defaults.
package struct ConfigurationSearch: Equatable, Sendable {
    /// The file named on the command line.
    package let explicitPath: String?

    package init(explicitPath: String?) {
        self.explicitPath = explicitPath
    }

    package static let legacyPath = "/etc/tlshd.conf"
    package static let standardPath = "/etc/tlshd/config"
    /// Its files whose names end in `.conf` are read; the hidden ones are not.
    package static let folder = "/etc/tlshd/config.d"

    /// The files whose change can change what `load` returns, besides those of `folder`.
    package var watchedPaths: [String] {
        explicitPath.map { [$0] } ?? [Self.legacyPath, Self.standardPath]
    }

    /// The folders whose files are added.
    package var folders: [String] { explicitPath == nil ? [Self.folder] : [] }

    /// Reads a file whole; nil when there is none by that name.
    package typealias Reader = (_ path: String) throws(ReadFailure) -> [UInt8]?
    /// The names in a folder, in any order; none where there is no such folder.
    package typealias Lister = (_ folder: String) throws(ReadFailure) -> [String]

    /// Finds and reads the settings. `inForce` is the source of the settings that the daemon runs with when it reads
    /// them again, nil at its start. When that file is broken now, or the only one and gone, this throws, so that the
    /// daemon stays with what it has; a file that is merely moved to the other place is followed.
    package func load(
        inForce: ConfigurationSource? = nil, read: Reader, list: Lister
    ) throws(ConfigurationError) -> LoadedConfiguration {
        let main = try findMain(inForce, read)
        var documents = main.document.map { [$0] } ?? []
        let dropIns = try dropIns(list)
        for path in dropIns {
            guard let document = try Self.document(path, read) else {
                throw .unreadable(path: path, ReadFailure(reason: "it leads nowhere, or has just gone"))
            }
            documents.append(document)
        }
        do {
            return LoadedConfiguration(
                source: main.source, dropIns: dropIns, settings: try DaemonSettings(documents), notices: main.notices,
                errors: main.errors)
        } catch {
            throw .invalid(error)
        }
    }

    /// The paths of the files that are added, in the order in which they are read.
    package func dropIns(_ list: Lister) throws(ConfigurationError) -> [String] {
        guard explicitPath == nil else { return [] }
        do {
            return try list(Self.folder).filter { $0.hasSuffix(".conf") && !$0.hasPrefix(".") }
                .sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }.map { "\(Self.folder)/\($0)" }
        } catch {
            throw .unreadable(path: Self.folder, error)
        }
    }

    /// The one file that the others are added to.
    private struct Main {
        var source = ConfigurationSource.defaults
        var document: INIDocument?
        var notices: [String] = []
        var errors: [String] = []
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
            guard inForce != .file(path: Self.legacyPath), error.isPassedOver else { throw error }
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

    /// The beginning is what ktls-utils logs, which guides tell people to look for.
    package static let relocationNotice =
        "Please relocate \(legacyPath) to \(standardPath); as long as it is there, \(standardPath) is not read"

    /// Passes over a legacy file that cannot be read or parsed, as ktls-utils does, but only for a standard one that is
    /// there and sound.
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
        return Main(
            source: .file(path: standardPath), document: document,
            errors: ["\(legacyError); using \(standardPath) instead"])
    }

    /// A file that is good by itself.
    private static func sound(_ path: String, _ read: Reader) throws(ConfigurationError) -> INIDocument? {
        guard let document = try document(path, read) else { return nil }
        do {
            _ = try DaemonSettings([document])
        } catch {
            throw .invalid(error)
        }
        return document
    }

    private static func document(_ path: String, _ read: Reader) throws(ConfigurationError) -> INIDocument? {
        let bytes: [UInt8]?
        do {
            bytes = try read(path)
        } catch {
            throw .unreadable(path: path, error)
        }
        guard let bytes else { return nil }
        do {
            return try INIDocument.parse(bytes, file: path)
        } catch {
            throw .invalid(error)
        }
    }
}

/// Which file other settings are added to.
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
    /// The files that were added to it, in the order in which they were read.
    package let dropIns: [String]
    /// With its own notices.
    package let settings: DaemonSettings
    /// One line each, about the choice of the file.
    package let notices: [String]
    /// One line each: a file that was passed over, as it is broken.
    package let errors: [String]

    init(
        source: ConfigurationSource, dropIns: [String] = [], settings: DaemonSettings, notices: [String] = [],
        errors: [String] = []
    ) {
        self.source = source
        self.dropIns = dropIns
        self.settings = settings
        self.notices = notices
        self.errors = errors
    }
}

/// Why a file that exists could not be read, or must not be used.
package struct ReadFailure: Error, Equatable, Sendable {
    /// The system's words, such as "Permission denied".
    package let reason: String
    /// What helps where it must not be used; `nil` where it cannot be read.
    package let remedy: String?

    package init(reason: String, remedy: String? = nil) {
        self.reason = reason
        self.remedy = remedy
    }
}

/// There are no settings to run with. `description` is one line.
package enum ConfigurationError: Error, Equatable, Sendable {
    case missing(path: String)
    case unreadable(path: String, ReadFailure)
    case invalid(SettingsError)
    indirect case bothBroken(legacy: ConfigurationError, standard: ConfigurationError)
}

extension ConfigurationError {
    /// Whether ktls-utils reads the next file instead. One that it would read is not passed over: what it demands of
    /// peers, the next file may not.
    fileprivate var isPassedOver: Bool {
        switch self {
        case .unreadable(_, let failure): failure.remedy == nil
        case .invalid(let error): if case .syntax = error.problem { true } else { false }
        case .missing, .bothBroken: false
        }
    }
}

extension ConfigurationError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .missing(let path): "\(path): there is no such file; put it there, or start tlshd with another -c FILE"
        case .unreadable(let path, let failure) where failure.remedy != nil:
            "\(path): is refused (\(failure.reason)); \(failure.remedy ?? "")"
        case .unreadable(let path, let failure):
            "\(path): cannot be read (\(failure.reason)); make it a regular file that root can read"
        case .invalid(let error): "\(error)"
        case .bothBroken(let legacy, let standard): "\(legacy); and \(standard)"
        }
    }
}
