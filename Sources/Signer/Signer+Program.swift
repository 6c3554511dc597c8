internal import Confined
internal import Sandbox
internal import System
internal import Wire

extension Signer {
    /// What `tlshd-signer` does from its first to its last instruction.
    ///
    /// - Returns: the exit status.
    package static func program() -> Int32 {
        ConfinedProcess.run("tlshd-signer", channels: [SignerDescriptor.control]) { user throws(ProcessEnd) in
            try ProcessEnd.system { () throws(SystemError) in
                try Signer(control: OwnedDescriptor(adopting: SignerDescriptor.control)) {
                    (descriptors, opensTokens) throws(SystemError) in
                    opensTokens
                        ? try Sandbox.enterWithTokens(keeping: descriptors, as: user)
                        : try Sandbox.enter(keeping: descriptors, as: user, for: .signing)
                }
            }.run()
        }
    }
}
