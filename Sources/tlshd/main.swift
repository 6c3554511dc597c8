internal import Broker
internal import Handshake
internal import Settings
internal import System
internal import Unconfined

/// Exit statuses; tlshd(8).
private enum ExitStatus {
    static let failure: Int32 = 1
    static let usage: Int32 = 2
}

private func complain(_ text: String) {
    ThisProcess.printError("tlshd: \(text)\n")
}

private func start() -> Int32 {
    do {
        switch try DaemonOptions.parse(arguments: Array(CommandLine.arguments.dropFirst())) {
        case .help:
            print(UsageText.help, terminator: "")
            return 0
        case .version:
            print(Version.daemonLine)
            return 0
        case .run(let options):
            return run(options)
        case .test(let options):
            return test(options)
        }
    } catch {
        complain("\(error); \(UsageText.synopsis)")
        return ExitStatus.usage
    }
}

/// Becomes `tlshctl check`: this program links no TLS library, and cannot judge certificates and keys.
private func test(_ options: DaemonOptions) -> Int32 {
    for notice in options.notices { complain(notice) }
    do throws(SystemError) {
        let program = try Host.executableFolder() + "/tlshctl"
        let file = options.configuration.map { ["--config=\($0)"] } ?? []
        let error = ThisProcess.execute(program, arguments: ["tlshctl", "check", "--test"] + file)
        complain("-t needs tlshctl beside tlshd: \(error); remedy: install it there, or run tlshctl check --test")
    } catch {
        complain("\(error)")
    }
    return ExitStatus.failure
}

private func run(_ options: DaemonOptions) -> Int32 {
    do {
        let broker = try Broker(options: options)
        broker.openControl()
        try broker.reducePrivileges()
        try broker.run()
        return 0
    } catch {
        complain("\(error)")
        return ExitStatus.failure
    }
}

ThisProcess.exit(start())
