internal import Glibc

/// The clock that all deadlines are counted by. It stands still while the machine sleeps, as the kernel consumers'
/// timers do.
package enum Clock {
    /// CLOCK_MONOTONIC, in nanoseconds; the same for all processes of this machine.
    package static func monotonicNanoseconds() -> UInt64 { nanoseconds(of: CLOCK_MONOTONIC) }

    /// CLOCK_THREAD_CPUTIME_ID, in nanoseconds: processor time of the calling thread.
    package static func threadProcessorNanoseconds() -> UInt64 { nanoseconds(of: CLOCK_THREAD_CPUTIME_ID) }

    private static func nanoseconds(of clock: clockid_t) -> UInt64 {
        var time = timespec()
        unsafe clock_gettime(clock, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }

    /// The point on this clock that lies `duration` ahead; now for a negative one, never beyond the clock's end.
    package static func deadline(in duration: Duration) -> UInt64 {
        let (sum, overflow) = monotonicNanoseconds().addingReportingOverflow(nanoseconds(of: duration))
        return overflow ? .max : sum
    }

    /// A duration in nanoseconds; 0 for a negative one, the largest number for one that is too long.
    package static func nanoseconds(of duration: Duration) -> UInt64 {
        let (seconds, attoseconds) = duration.components
        guard seconds >= 0, attoseconds >= 0 else { return 0 }
        let (whole, overflow) = UInt64(seconds).multipliedReportingOverflow(by: 1_000_000_000)
        guard !overflow else { return .max }
        let (sum, overflows) = whole.addingReportingOverflow(UInt64(attoseconds) / 1_000_000_000)
        return overflows ? .max : sum
    }

    /// Nanoseconds as milliseconds for poll(2) and epoll_wait(2), rounded up so that no loop turns in vain.
    static func pollTimeout(_ nanoseconds: UInt64) -> Int32 {
        Int32(clamping: nanoseconds / 1_000_000 + (nanoseconds % 1_000_000 == 0 ? 0 : 1))
    }
}
