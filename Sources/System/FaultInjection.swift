internal import Glibc

/// Random pauses at the steps that end a refused connection, so that every order of alert, FIN, reset and DONE occurs
/// in tests. Compiled in with FAULT_INJECTION only (`make soak-faults`); otherwise it does nothing.
package enum FaultInjection {
    /// Waits 0 to 50 ms, with a system call that the sandboxes allow.
    package static func pause() {
        #if FAULT_INJECTION
            _ = poll(nil, 0, Int32.random(in: 0...50))
        #endif
    }
}
