internal import Confined
internal import Sandbox
internal import System
internal import Wire

extension Worker {
    /// What `tlshd-worker` does from its first to its last instruction.
    ///
    /// - Returns: the exit status.
    package static func program() -> Int32 {
        ProcessPriority.lower()
        return ConfinedProcess.run("tlshd-worker", channels: [WorkerDescriptor.control, WorkerDescriptor.keys]) {
            user throws(ProcessEnd) in
            try ProcessEnd.system { () throws(SystemError) in
                try Worker(
                    control: OwnedDescriptor(adopting: WorkerDescriptor.control),
                    keys: OwnedDescriptor(adopting: WorkerDescriptor.keys),
                    step: WorkerStep(mapping: WorkerDescriptor.step)
                ) { descriptors throws(SystemError) in
                    try Sandbox.enter(keeping: descriptors, as: user)
                }
            }.run()
        }
    }
}
