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
            (["-x"], .unknownOption("-x")), (["-sx"], .unknownOption("-x")), (["-x", "-v"], .unknownOption("-x")),
            (["--nonsense"], .unknownOption("--nonsense")), (["--nonsense=1"], .unknownOption("--nonsense")),
            (["--configs=/x"], .unknownOption("--configs")), (["--Config=/x"], .unknownOption("--Config")),
            (["-s-"], .unknownOption("--")), (["-\u{301}"], .unknownOption("-\u{301}")),
            (["-s\u{301}"], .unknownOption("-\u{301}")), (["--="], .ambiguousOption("--")),
            (["--=x"], .ambiguousOption("--")), (["-c"], .missingValue(option: "-c")),
            (["-sc"], .missingValue(option: "-c")), (["--conf"], .missingValue(option: "--conf")),
            (["-l"], .missingValue(option: "-l")), (["--help=1"], .unwantedValue(option: "--help")),
            (["--st="], .unwantedValue(option: "--st")), (["-c", ""], .emptyConfiguration),
            (["--config="], .emptyConfiguration), (["-c", String(repeating: "a", count: 4096)], .longConfiguration),
            (["-l", "10"], .logLevel("10")), (["-l", "x"], .logLevel("x")), (["-l", ""], .logLevel("")),
            (["-l", "-1"], .logLevel("-1")), (["--loglevel=٣"], .logLevel("٣")),
        ] as [([String], UsageError)])
    func refuses(_ arguments: [String], _ error: UsageError) {
        #expect(throws: error) { try DaemonOptions.parse(arguments: arguments) }
        #expect(!error.description.isEmpty && !error.description.contains("\n"))
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
        #expect(
            UsageError.unknownOption("--a\n\u{1B}b").description
                == #"unknown option '--a\u{a}\u{1b}b'; -h lists the options"#)
        #expect(UsageError.logLevel("10").description == "log level '10' is not a number from 0 to 9")
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
