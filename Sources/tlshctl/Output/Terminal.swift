internal import ArgumentParser
internal import FoundationEssentials
internal import Glibc

/// Where output goes, and whether that shows colours.
struct Terminal: Sendable, Equatable {
    /// Whether text is styled.
    var isStyled: Bool
    /// Columns; `nil` where it is no terminal, and lines are as long as they like.
    var width: Int?

    /// Styled on a terminal that can, unless the user does not want it (https://no-color.org: NO_COLOR set and not
    /// empty).
    static func of(_ descriptor: Int32, _ choice: ColorChoice) -> Terminal {
        let isTerminal = isatty(descriptor) == 1
        let environment = ProcessInfo.processInfo.environment
        let isPlain = environment["NO_COLOR"].map { !$0.isEmpty } ?? false || environment["TERM"] == "dumb"
        let isStyled =
            switch choice {
            case .auto: isTerminal && !isPlain
            case .always: true
            case .never: false
            }
        return Terminal(isStyled: isStyled, width: isTerminal ? columns(of: descriptor) : nil)
    }

    private static func columns(of descriptor: Int32) -> Int {
        var size = winsize()
        guard unsafe ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return 80 }
        return Int(size.ws_col)
    }

    /// The text in a style, where styles show.
    func styled(_ text: String, _ style: Style) -> String {
        isStyled && !text.isEmpty ? "\u{1B}[\(style.rawValue)m\(text)\u{1B}[0m" : text
    }
}

/// How a text looks (ECMA-48, SGR).
enum Style: String, Sendable {
    case bold = "1"
    case dim = "2"
    case good = "32"
    case warning = "33"
    case bad = "1;31"
}

/// `--color`.
enum ColorChoice: String, ExpressibleByArgument, CaseIterable, Sendable {
    case auto
    case always
    case never
}
