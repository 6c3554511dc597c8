import Handshake
import Testing

@testable import Settings

private let legacy = "/etc/tlshd.conf"
private let standard = "/etc/tlshd/config"

/// What stands under a name in these tests.
private enum Content {
    case good(Int)
    case broken
    case unreadable

    static func reader(_ files: [String: Content]) -> ConfigurationSearch.Reader {
        { path throws(ConfigurationError) in
            switch files[path] {
            case .none: return nil
            case .good(let level): return Array("[debug]\nloglevel=\(level)\n".utf8)
            case .broken: return Array("loglevel=1\n".utf8)
            case .unreadable: throw .unreadable(path: path, reason: "Permission denied")
            }
        }
    }
}

private func invalid(_ path: String) -> ConfigurationError {
    .invalid(SettingsError(file: path, line: 1, column: 1, problem: .syntax(.keyBeforeSection)))
}

private func load(
    _ files: [String: Content], explicit: String? = nil, inForce: ConfigurationSource? = nil
) throws(ConfigurationError) -> LoadedConfiguration {
    try ConfigurationSearch(explicitPath: explicit).load(inForce: inForce, read: Content.reader(files)) { _ in [] }
}

@Suite("Where settings come from")
struct ConfigurationSearchTests {
    @Test("a file named on the command line is the only one")
    func explicit() throws {
        let files: [String: Content] = ["/x": .good(1), legacy: .good(2), standard: .good(3)]
        let loaded = try load(files, explicit: "/x")
        #expect(loaded.source == .file(path: "/x"))
        #expect(loaded.settings.debug.logLevel == Located(1, origin: .line(file: "/x", line: 2)))
        #expect(loaded.notices.isEmpty && loaded.errors.isEmpty)
        #expect(ConfigurationSearch(explicitPath: "/x").watchedPaths == ["/x"])
    }

    @Test("a file named on the command line that cannot be used is an error, whatever else is there")
    func brokenExplicit() {
        let others: [String: Content] = [legacy: .good(2), standard: .good(3)]
        #expect(throws: ConfigurationError.missing(path: "/x")) { try load(others, explicit: "/x") }
        #expect(throws: invalid("/x")) { try load(others.merging(["/x": .broken]) { $1 }, explicit: "/x") }
        let unreadable = ConfigurationError.unreadable(path: "/x", reason: "Permission denied")
        #expect(throws: unreadable) { try load(others.merging(["/x": .unreadable]) { $1 }, explicit: "/x") }
    }

    @Test("the legacy file goes before the standard one, with a notice")
    func legacyFirst() throws {
        for other: Content? in [nil, .good(3), .broken] {
            let loaded = try load([legacy: .good(2)].merging(other.map { [standard: $0] } ?? [:]) { $1 })
            #expect(loaded.source == .file(path: legacy))
            #expect(loaded.settings.debug.logLevel.value == 2)
            #expect(loaded.notices == [ConfigurationSearch.relocationNotice])
            #expect(loaded.errors.isEmpty)
        }
        #expect(ConfigurationSearch.relocationNotice.hasPrefix("Please relocate /etc/tlshd.conf to /etc/tlshd/config"))
    }

    @Test("without the legacy file the standard one is read")
    func standardNext() throws {
        let loaded = try load([standard: .good(3)])
        #expect(loaded.source == .file(path: standard))
        #expect(loaded.settings.debug.logLevel.value == 3)
        #expect(loaded.notices.isEmpty && loaded.errors.isEmpty)
        #expect(ConfigurationSearch(explicitPath: nil).watchedPaths == [legacy, standard])
    }

    @Test("without any file the defaults hold")
    func defaults() throws {
        let loaded = try load([:])
        #expect(loaded == LoadedConfiguration(source: .defaults, settings: try settings("")))
    }

    @Test("a broken legacy file gives way to a sound standard one, with an error line")
    func fallsThrough() throws {
        let broken = try load([legacy: .broken, standard: .good(3)])
        #expect(broken.source == .file(path: standard))
        #expect(broken.settings.debug.logLevel.value == 3)
        #expect(broken.errors.map(\.remedy) == [invalid(legacy).parts.remedy])
        #expect(broken.errors.map(\.description) == ["\(invalid(legacy)); using /etc/tlshd/config instead"])
        let unreadable = try load([legacy: .unreadable, standard: .good(3)])
        #expect(unreadable.errors.count == 1)
        #expect(unreadable.errors[0].description.hasPrefix("/etc/tlshd.conf: cannot be read (Permission denied); "))
    }

    @Test("a legacy file that ktls-utils would take is not passed over when it is refused here")
    func refusedLegacy() {
        let search = ConfigurationSearch(explicitPath: nil)
        #expect(throws: ConfigurationError.self) {
            try search.load { path throws(ConfigurationError) in
                Array((path == legacy ? "[authenticate.server]\nx509.trustore=/ca\n" : "[debug]\n").utf8)
            } list: { _ throws(ConfigurationError) in
                []
            }
        }
    }

    @Test("a broken legacy file alone is an error, and so are two broken files")
    func nothingSound() {
        #expect(throws: invalid(legacy)) { try load([legacy: .broken]) }
        let both = ConfigurationError.bothBroken(legacy: invalid(legacy), standard: invalid(standard))
        #expect(throws: both) { try load([legacy: .broken, standard: .broken]) }
        #expect(throws: invalid(standard)) { try load([standard: .broken]) }
        #expect(both.description == "\(invalid(legacy)); and \(invalid(standard))")
    }

    @Test("a file in force that breaks leaves the daemon with what it has")
    func brokenAgain() {
        let inForce = ConfigurationSource.file(path: legacy)
        #expect(throws: invalid(legacy)) { try load([legacy: .broken, standard: .good(3)], inForce: inForce) }
        let standardInForce = ConfigurationSource.file(path: standard)
        #expect(throws: invalid(standard)) { try load([standard: .broken], inForce: standardInForce) }
        #expect(throws: invalid(legacy)) { try load([legacy: .broken], inForce: .defaults) }
    }

    @Test("a file in force that is gone leaves the daemon with what it has, not with the defaults")
    func gone() {
        for path in [legacy, standard] {
            #expect(throws: ConfigurationError.missing(path: path)) { try load([:], inForce: .file(path: path)) }
        }
        #expect(throws: ConfigurationError.missing(path: "/x")) {
            try load([standard: .good(3)], explicit: "/x", inForce: .file(path: "/x"))
        }
    }

    @Test("a file that moved to the other place is followed, and one that appears is read")
    func moved() throws {
        #expect(try load([standard: .good(3)], inForce: .file(path: legacy)).source == .file(path: standard))
        #expect(try load([legacy: .good(3)], inForce: .file(path: standard)).source == .file(path: legacy))
        #expect(try load([standard: .good(3)], inForce: .defaults).source == .file(path: standard))
        #expect(try load([:], inForce: .defaults).source == .defaults)
    }

    @Test("a broken legacy file stays passed over while the standard one is in force")
    func stillPassedOver() throws {
        let loaded = try load([legacy: .broken, standard: .good(4)], inForce: .file(path: standard))
        #expect(loaded.settings.debug.logLevel.value == 4)
        #expect(loaded.errors.count == 1)
    }
}
