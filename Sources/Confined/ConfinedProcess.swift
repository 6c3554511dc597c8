internal import Glibc
package import Sandbox
internal import System
internal import Wire
internal import X509

/// Start and end of `tlshd-worker` and `tlshd-signer`.
package enum ConfinedProcess {
    /// Prepares the process, runs `serve`, and prints the error that ended it to stderr.
    ///
    /// - Parameters:
    ///   - name: the name of the program.
    ///   - channels: the descriptors that the broker passes.
    ///   - serve: the main loop; its argument is the user to change to in the sandbox.
    /// - Returns: the exit status.
    package static func run(
        _ name: String, channels: [Int32], serve: (WorkerUser) throws -> Never
    ) -> Int32 {
        guard channels.allSatisfy({ fcntl($0, F_GETFD) >= 0 }) else {
            complain(name, "started by hand; tlshd starts it and gives it its channels")
            return 2
        }
        do {
            try ProcessHardening.apply()
            ProcessHardening.ignoreBrokenPipes()
            try GnuTLS.initialize()
            try serve(WorkerUser.find())
        } catch ChannelFault.gone {
            return 0
        } catch ChannelFault.brokeProtocol(let what) {
            complain(name, "the broker broke the protocol: \(what)")
            return softwareError
        } catch ChannelFault.unresponsive {
            complain(name, "the broker broke the protocol: the broker does not read")
            return softwareError
        } catch let error as GnuTLSError {
            complain(name, "GnuTLS does not start: \(error)")
            return systemError
        } catch {
            complain(name, "\(error)")
            return systemError
        }
    }

    /// EX_SOFTWARE of sysexits.h.
    private static let softwareError: Int32 = 70
    /// EX_OSERR of sysexits.h.
    private static let systemError: Int32 = 71

    private static func complain(_ name: String, _ text: String) {
        let line = Array("\(name)[\(getpid())]: \(text)\n".utf8)
        _ = unsafe write(STDERR_FILENO, line, line.count)
    }
}
