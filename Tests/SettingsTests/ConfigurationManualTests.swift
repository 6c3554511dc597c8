import Foundation
import Testing

@testable import Settings

@Suite("docs/man/tlshd.conf.5")
struct ConfigurationManualTests {
    /// The default that an entry of the page gives.
    private enum Default: Equatable {
        /// A value as it would be written in a file.
        case value(String)
        /// A sentence, for the absence of a value.
        case sentence
    }

    /// The default of each entry, by its section and key.
    private static func defaults() throws -> [String: Default] {
        let page = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().appending(path: "docs/man/tlshd.conf.5")
        var defaults: [String: Default] = [:]
        var sections: [String] = []
        var keys: [String] = []
        var before = ""
        for line in try String(contentsOf: page, encoding: .utf8).split(separator: "\n").map(String.init) {
            if line.hasPrefix(".SH") {
                sections = line.split(separator: "[").dropFirst().map { String($0.prefix { $0 != "]" }) }
            } else if before == ".TP" {
                let names = line.prefix { $0 != "=" }.split { " ,\"".contains($0) }
                keys = names.dropFirst().map(String.init)
            } else if before == "Default:", line.hasPrefix(".BR "), line.hasSuffix(" .") {
                for section in sections {
                    for key in keys { defaults["\(section) \(key)"] = .value(String(line.dropFirst(4).dropLast(2))) }
                }
            } else if line.hasPrefix("Default: ") {
                for section in sections {
                    for key in keys { defaults["\(section) \(key)"] = .sentence }
                }
            }
            before = line
        }
        return defaults
    }

    @Test("gives the default of each setting, in one form")
    func complete() throws {
        let defaults = try Self.defaults()
        for setting in try DaemonSettings.read([], file: "empty").effective {
            let wanted = setting.value.contains(" ") ? Default.sentence : .value(setting.value)
            #expect(
                defaults["\(setting.section) \(setting.key)"] == wanted,
                "[\(setting.section)] \(setting.key), by default \(setting.value)")
        }
    }
}
