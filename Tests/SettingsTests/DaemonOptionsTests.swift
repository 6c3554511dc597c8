import Handshake
import Testing

@testable import Settings

@Suite("Command line")
struct DaemonOptionsTests {
    struct Accepted: CustomTestStringConvertible, Sendable {
        let arguments: [String]
        let command: DaemonCommand
        var testDescription: String { arguments.description }

        init(_ arguments: [String], _ command: DaemonCommand) {
            self.arguments = arguments
            self.command = command
        }

        init(_ arguments: [String], config: String? = nil, stderr: Bool = false, level: Int? = nil) {
            var options = DaemonOptions()
            options.configuration = config
            options.logsToStandardError = stderr
            options.logLevel = level
            self.init(arguments, .run(options))
        }
    }

    static let accepted: [Accepted] = [
        .init([]),
        .init(["-c", "/x"], config: "/x"),
        .init(["-c/x"], config: "/x"),
        .init(["-c=/x"], config: "=/x"),
        .init(["--config", "/x"], config: "/x"),
        .init(["--config=/x"], config: "/x"),
        .init(["--config=/x=y"], config: "/x=y"),
        .init(["--conf=/x"], config: "/x"),
        .init(["--c", "/x"], config: "/x"),
        .init(["-c", "-s"], config: "-s"),
        .init(["-c", "--"], config: "--"),
        .init(["-c", "/x", "-c", "/y"], config: "/y"),
        .init(["-s"], stderr: true),
        .init(["--stderr"], stderr: true),
        .init(["--std"], stderr: true),
        .init(["-ss"], stderr: true),
        .init(["-sc/x"], config: "/x", stderr: true),
        .init(["-sc", "/x"], config: "/x", stderr: true),
        .init(["-cs"], config: "s"),
        .init(["-l", "3"], level: 3),
        .init(["-l0"], level: 0),
        .init(["-sl9"], stderr: true, level: 9),
        .init(["--loglevel=1"], level: 1),
        .init(["--log", "2"], level: 2),
        .init(["-h"], .help),
        .init(["--help"], .help),
        .init(["--he"], .help),
        .init(["-v"], .version),
        .init(["--version"], .version),
        .init(["-sv"], .version),
        .init(["-sh"], .help),
        .init(["-v", "-x"], .version),
        .init(["-vx"], .version),
        .init(["-h", "--nonsense"], .help),
        .init(["-hv"], .help),
        .init(["--"]),
        .init(["-s", "--"], stderr: true),
    ]

    @Test(
        "a test is of the settings that the other options name",
        arguments: [["-t"], ["--test"], ["-tc/x"], ["-c", "/x", "-t"]])
    func tests(_ arguments: [String]) throws {
        var options = DaemonOptions()
        if arguments != ["-t"], arguments != ["--test"] { options.configuration = "/x" }
        #expect(try DaemonOptions.parse(arguments: arguments) == .test(options))
    }

    @Test("what getopt_long takes is taken", arguments: accepted)
    func accepts(_ row: Accepted) throws {
        #expect(try DaemonOptions.parse(arguments: row.arguments) == row.command)
    }

    @Test(
        "arguments that are no options are ignored with a notice",
        arguments: [
            (["a"], false, ["a"]), (["a", "-s"], true, ["a"]), (["-s", "a", "b"], true, ["a", "b"]),
            (["-"], false, ["-"]),
            (["--", "-s"], false, ["-s"]), (["--", "--"], false, ["--"]), ([""], false, [""]),
            (["-s", "--", "--help", "-x"], true, ["--help", "-x"]),
        ] as [([String], Bool, [String])])
    func ignores(_ arguments: [String], _ stderr: Bool, _ ignored: [String]) throws {
        guard case .run(let options) = try DaemonOptions.parse(arguments: arguments) else {
            Issue.record("not a run")
            return
        }
        #expect(options.logsToStandardError == stderr)
        #expect(options.notices == ignored.map { "ignoring argument '\($0)': it is not an option" })
    }

    @Test(
        "what getopt_long refuses is refused",
        arguments: [
            (["-x"], "unknown option '-x'; -h lists the options"),
            (["-sx"], "unknown option '-x'; -h lists the options"),
            (["-x", "-v"], "unknown option '-x'; -h lists the options"),
            (["--nonsense"], "unknown option '--nonsense'; -h lists the options"),
            (["--nonsense=1"], "unknown option '--nonsense'; -h lists the options"),
            (["--configs=/x"], "unknown option '--configs'; -h lists the options"),
            (["--Config=/x"], "unknown option '--Config'; -h lists the options"),
            (["-s-"], "unknown option '--'; -h lists the options"),
            (["-\u{301}"], "unknown option '-\u{301}'; -h lists the options"),
            (["-s\u{301}"], "unknown option '-\u{301}'; -h lists the options"),
            (["--="], "option '--' can mean several options; -h lists them"),
            (["--=x"], "option '--' can mean several options; -h lists them"),
            (["-c"], "option '-c' needs a value; -h lists the options"),
            (["-sc"], "option '-c' needs a value; -h lists the options"),
            (["--conf"], "option '--conf' needs a value; -h lists the options"),
            (["-l"], "option '-l' needs a value; -h lists the options"),
            (["--help=1"], "option '--help' takes no value; -h lists the options"),
            (["--st="], "option '--st' takes no value; -h lists the options"),
            (["-c", ""], "option '--config' needs the name of a file"),
            (["--config="], "option '--config' needs the name of a file"),
            (["-c", String(repeating: "a", count: 4096)], "the path of option '--config' is too long"),
            (["-l", "10"], "log level '10' is not a number from 0 to 9"),
            (["-l", "x"], "log level 'x' is not a number from 0 to 9"),
            (["-l", ""], "log level '' is not a number from 0 to 9"),
            (["-l", "-1"], "log level '-1' is not a number from 0 to 9"),
            (["--loglevel=٣"], "log level '٣' is not a number from 0 to 9"),
        ] as [([String], String)])
    func refuses(_ arguments: [String], _ text: String) {
        #expect(throws: TextError(text)) { try DaemonOptions.parse(arguments: arguments) }
    }

    @Test("the longest path that Linux takes is taken")
    func longPath() throws {
        let path = String(repeating: "a", count: 4095)
        var options = DaemonOptions()
        options.configuration = path
        #expect(try DaemonOptions.parse(arguments: ["-c", path]) == .run(options))
    }

    @Test("an error shows the option without control characters")
    func quotesOptions() {
        #expect(throws: TextError(#"unknown option '--a\u{a}\u{1b}b'; -h lists the options"#)) {
            try DaemonOptions.parse(arguments: ["--a\n\u{1B}b"])
        }
    }

    @Test("the help names every option on a line of its own")
    func help() {
        let lines = UsageText.help.split(separator: "\n")
        #expect(lines.first.map(String.init) == UsageText.synopsis)
        #expect(lines.count == DaemonOption.allCases.count + 1)
        for (line, option) in zip(lines.dropFirst(), DaemonOption.allCases) {
            #expect(line.hasPrefix("  -\(option.short), --\(option.long)"))
            #expect(line.hasSuffix("  \(option.help)"))
            #expect(line.count <= 100)
            #expect(UsageText.synopsis.contains("[-\(option.short)"))
        }
    }
}
