package import Handshake

/// Parsed command line.
package enum DaemonCommand: Equatable, Sendable {
    case run(DaemonOptions)
    /// Check the settings that the options name, and end.
    case test(DaemonOptions)
    case help
    case version
}

/// Options of the daemon.
package struct DaemonOptions: Equatable, Sendable {
    /// The only file to read settings from; `nil` for the standard locations.
    package var configuration: String?
    /// Log to stderr as well as to the journal.
    package var logsToStandardError = false
    /// 0...9; `nil` to use the settings.
    package var logLevel: Int?
    /// Messages about ignored arguments, one line each.
    package var notices: [String] = []

    package init() {}

    /// Parses the arguments like getopt_long(3): options and other arguments in any order, bundled short options, long
    /// options abbreviated to an unambiguous prefix, `--` before arguments that are not options. `-h` and `-v` take
    /// effect at once; what follows them is not parsed. Arguments that are not options are ignored.
    package static func parse(arguments: [String]) throws(TextError) -> DaemonCommand {
        var parser = OptionParser(arguments: arguments)
        var options = DaemonOptions()
        var isTest = false
        while let item = try parser.next() {
            switch item {
            case .argument(let text): options.notices.append("ignoring argument \(quoted(text)): it is not an option")
            case .option(.help, _): return .help
            case .option(.version, _): return .version
            case .option(.test, _): isTest = true
            case .option(.stderr, _): options.logsToStandardError = true
            case .option(.config, let value): options.configuration = try checkedPath(value)
            case .option(.loglevel, let value): options.logLevel = try checkedLevel(value)
            }
        }
        return isTest ? .test(options) : .run(options)
    }

    private static func checkedPath(_ value: String) throws(TextError) -> String {
        guard !value.isEmpty else { throw TextError("option '--config' needs the name of a file") }
        guard value.utf8.count < longestPath else { throw TextError("the path of option '--config' is too long") }
        return value
    }

    /// PATH_MAX, which includes a NUL.
    private static let longestPath = 4096

    private static func checkedLevel(_ value: String) throws(TextError) -> Int {
        guard value.utf8.count == 1, let digit = value.utf8.first, Byte.isDigit(digit) else {
            throw TextError("log level \(quoted(value)) is not a number from 0 to 9")
        }
        return Int(digit - 0x30)
    }
}

/// Options with their spellings and help texts.
package enum DaemonOption: CaseIterable, Sendable {
    case config
    case stderr
    case loglevel
    case test
    case help
    case version

    package var short: Unicode.Scalar {
        switch self {
        case .config: "c"
        case .stderr: "s"
        case .loglevel: "l"
        case .test: "t"
        case .help: "h"
        case .version: "v"
        }
    }

    package var long: String {
        switch self {
        case .config: "config"
        case .stderr: "stderr"
        case .loglevel: "loglevel"
        case .test: "test"
        case .help: "help"
        case .version: "version"
        }
    }

    /// Placeholder of the option's value; `nil` if it has none.
    package var valueName: String? {
        switch self {
        case .config: "FILE"
        case .loglevel: "LEVEL"
        case .stderr, .test, .help, .version: nil
        }
    }

    /// Help text, one line.
    package var help: String {
        switch self {
        case .config: "read this file only (default: /etc/tlshd.conf, else /etc/tlshd/config)"
        case .stderr: "log to standard error as well"
        case .loglevel: "log level 0 to 9; overrides [debug] loglevel"
        case .test: "check the settings and their files with tlshctl, and end"
        case .help: "print this text"
        case .version: "print the version"
        }
    }
}

/// Output of `-h`.
package enum UsageText {
    package static let synopsis = "usage: tlshd [-c FILE] [-s] [-l LEVEL] [-t] [-h] [-v]"

    /// The synopsis and one line per option, each with a newline.
    package static let help: String = DaemonOption.allCases.reduce(into: "\(synopsis)\n") { text, option in
        let spelling = "  -\(option.short), --\(option.long)" + (option.valueName.map { " \($0)" } ?? "")
        let padding = String(repeating: " ", count: max(1, 24 - spelling.count))
        text += "\(spelling)\(padding)\(option.help)\n"
    }
}

/// Splits arguments into options and other arguments by the rules of getopt_long(3).
struct OptionParser {
    enum Item: Equatable {
        /// The value is empty for an option without value.
        case option(DaemonOption, String)
        case argument(String)
    }

    private var arguments: ArraySlice<String>
    /// Rest of a bundle of short options.
    private var bundle = Substring.UnicodeScalarView()
    private var isBehindDashes = false

    init(arguments: [String]) {
        self.arguments = arguments[...]
    }

    /// The next item; `nil` at the end.
    mutating func next() throws(TextError) -> Item? {
        if let short = bundle.popFirst() {
            return try shortOption(short)
        }
        guard let argument = arguments.popFirst() else { return nil }
        guard !isBehindDashes, argument.utf8.count > 1, argument.utf8.first == 0x2D else {
            return .argument(argument)
        }
        if argument == "--" {
            isBehindDashes = true
            return try next()
        }
        if argument.utf8.starts(with: "--".utf8) {
            return try longOption(argument)
        }
        bundle = argument.unicodeScalars.dropFirst()
        return try next()
    }

    private mutating func shortOption(_ short: Unicode.Scalar) throws(TextError) -> Item {
        guard let option = DaemonOption.allCases.first(where: { $0.short == short }) else {
            throw Self.unknown("-\(short)")
        }
        guard option.valueName != nil else { return .option(option, "") }
        if !bundle.isEmpty {
            let value = String(bundle)
            bundle = Substring.UnicodeScalarView()
            return .option(option, value)
        }
        guard let value = arguments.popFirst() else { throw Self.lacksValue("-\(short)") }
        return .option(option, value)
    }

    private mutating func longOption(_ argument: String) throws(TextError) -> Item {
        let text = argument.unicodeScalars.dropFirst(2)
        let name = text.prefix { $0 != "=" }
        let attached = name.endIndex < text.endIndex ? String(text[name.endIndex...].dropFirst()) : nil
        let spelling = "--\(String(name))"
        let option = try option(beginning: String(name), spelling: spelling)
        guard option.valueName != nil else {
            guard attached == nil else {
                throw TextError("option \(quoted(spelling)) takes no value; -h lists the options")
            }
            return .option(option, "")
        }
        if let attached { return .option(option, attached) }
        guard let value = arguments.popFirst() else { throw Self.lacksValue(spelling) }
        return .option(option, value)
    }

    private func option(beginning: String, spelling: String) throws(TextError) -> DaemonOption {
        let options = DaemonOption.allCases.filter { $0.long.hasPrefix(beginning) }
        guard let first = options.first else { throw Self.unknown(spelling) }
        guard options.count == 1 else {
            throw TextError("option \(quoted(spelling)) can mean several options; -h lists them")
        }
        return first
    }

    private static func unknown(_ option: String) -> TextError {
        TextError("unknown option \(quoted(option)); -h lists the options")
    }

    private static func lacksValue(_ option: String) -> TextError {
        TextError("option \(quoted(option)) needs a value; -h lists the options")
    }
}
