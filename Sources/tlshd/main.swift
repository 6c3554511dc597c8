internal import Broker
internal import Handshake
internal import Settings
internal import System

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
        }
    } catch {
        complain("\(error); \(UsageText.synopsis)")
        return ExitStatus.usage
    }
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
