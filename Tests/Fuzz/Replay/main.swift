import Foundation
import Handshake
import Stranger

// FuzzReplay FILE...: runs inputs of FuzzWorker without a fuzzer; ends at the first that breaks a rule.
// FuzzReplay --seeds FOLDER: writes the seeds.

/// Prints at once, so that the last file is known when an input ends the process.
func say(_ text: String) { FileHandle.standardOutput.write(Data(text.utf8)) }

let arguments = CommandLine.arguments.dropFirst()
if arguments.first == "--seeds", let folder = arguments.last {
    for (name, plan) in Seeds.all {
        try Data(plan.bytes).write(to: URL(filePath: folder).appending(path: name))
    }
} else {
    let meeting = try Meeting()
    for path in arguments {
        say("\(path): ")
        let result = meeting.run(try Data(contentsOf: URL(filePath: path)))
        let text =
            switch result.outcome {
            case .success(let session):
                "\(session.cipherSuite) \(session.group) \(session.peerAuthenticated ? "authenticated" : "anonymous")"
            case .failure(let failure): "\(failure.reason) \(failure.detail)"
            }
        say("\(text); \(result.processorTime)\n")
    }
}
