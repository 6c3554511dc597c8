internal import Handshake
package import Sandbox
internal import System
internal import Wire
internal import X509

/// Start and end of `tlshd-worker` and `tlshd-signer`.
package enum ConfinedProcess {
    /// Prepares the process, runs `serve`, prints the error that ended it to stderr, and exits.
    ///
    /// - Parameters:
    ///   - name: the name of the program.
    ///   - channels: the descriptors that the broker passes.
    ///   - users: names of the users that it may run as in the sandbox; the first is its own.
    ///   - serve: the main loop; its argument is the user to change to.
    package static func run(
        _ name: String, channels: [Int32], users: [String], serve: (ConfinedUser) throws -> Never
    ) -> Never {
        if CommandLine.arguments.dropFirst() == ["--version"] {
            print("\(name) \(Version.text)")
            ThisProcess.exit(0)
        }
        guard channels.allSatisfy(OwnedDescriptor.isOpen) else {
            complain(name, "started by hand; tlshd starts it and gives it its channels")
            ThisProcess.exit(2)
        }
        do {
            try ProcessHardening.apply()
            ProcessHardening.ignoreBrokenPipes()
            try GnuTLS.initialize()
            try serve(ConfinedUser.find(users))
        } catch ChannelFault.gone {
            ThisProcess.exit(0)
        } catch ChannelFault.brokeProtocol(let what) {
            complain(name, "the broker broke the protocol: \(what)")
            ThisProcess.exit(softwareError)
        } catch ChannelFault.unresponsive {
            complain(name, "the broker broke the protocol: the broker does not read")
            ThisProcess.exit(softwareError)
        } catch let error as GnuTLSError {
            complain(name, "GnuTLS does not start: \(error)")
            ThisProcess.exit(systemError)
        } catch {
            complain(name, "\(error)")
            ThisProcess.exit(systemError)
        }
    }

    /// EX_SOFTWARE of sysexits.h.
    private static let softwareError: Int32 = 70
    /// EX_OSERR of sysexits.h.
    private static let systemError: Int32 = 71

    private static func complain(_ name: String, _ text: String) {
        ThisProcess.printError("\(name)[\(ThisProcess.identifier)]: \(text)\n")
    }
}
