internal import Glibc

/// Pauses at the steps that end a refused connection, so that each order of alert, FIN, reset and DONE comes up.
/// Compiled with FAULT_INJECTION alone (`make soak-faults`); otherwise it does nothing.
package enum FaultInjection {
    /// Waits 0 to 50 ms, by the one call that the sandboxes allow.
    package static func pause() {
        #if FAULT_INJECTION
            _ = poll(nil, 0, Int32.random(in: 0...50))
        #endif
    }
}
