internal import ArgumentParser
internal import FoundationEssentials
internal import Glibc

/// Properties of the output: colours and width.
struct Terminal: Sendable, Equatable {
    /// True if text is styled.
    var isStyled: Bool
    /// Number of columns; `nil` if it is not a terminal, and lines are not wrapped.
    var width: Int?

    /// Styled on a capable terminal, unless the user disabled it (https://no-color.org: NO_COLOR is set and not empty).
    static func of(_ descriptor: Int32, _ choice: ColorChoice) -> Terminal {
        let isTerminal = isTerminal(descriptor)
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

    /// True if a descriptor is that of a terminal.
    static func isTerminal(_ descriptor: Int32) -> Bool { isatty(descriptor) == 1 }

    /// Waits before what is displayed is updated.
    static func pause(_ duration: Duration) { usleep(UInt32(duration / .microseconds(1))) }

    private static func columns(of descriptor: Int32) -> Int {
        var size = winsize()
        guard unsafe ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return 80 }
        return Int(size.ws_col)
    }

    /// Applies a style, if styles are enabled.
    func styled(_ text: String, _ style: Style) -> String {
        isStyled && !text.isEmpty ? "\u{1B}[\(style.rawValue)m\(text)\u{1B}[0m" : text
    }
}

/// Text style (ECMA-48, SGR).
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
