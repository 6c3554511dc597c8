internal import Handshake

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
