internal import Glibc

/// The clock for all deadlines. It stops during suspend, as the timers of the kernel consumers do.
package enum Clock {
    /// CLOCK_MONOTONIC, in nanoseconds; the same for all processes of this machine.
    package static func monotonicNanoseconds() -> UInt64 { nanoseconds(of: CLOCK_MONOTONIC) }

    /// CLOCK_THREAD_CPUTIME_ID, in nanoseconds: processor time of the calling thread.
    package static func threadProcessorNanoseconds() -> UInt64 { nanoseconds(of: CLOCK_THREAD_CPUTIME_ID) }

    /// time(2): seconds since 1970-01-01T00:00:00Z.
    package static func unixTime() -> Int64 { Int64(time(nil)) }

    /// tzset(3): reads the time zone file now instead of when a time is first formatted.
    package static func loadTimeZone() { tzset() }

    private static func nanoseconds(of clock: clockid_t) -> UInt64 {
        var time = timespec()
        unsafe clock_gettime(clock, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }

    /// The time `duration` from now; now if it is negative, and the end of the clock at most.
    package static func deadline(in duration: Duration) -> UInt64 {
        let (sum, overflow) = monotonicNanoseconds().addingReportingOverflow(nanoseconds(of: duration))
        return overflow ? .max : sum
    }

    /// A duration in nanoseconds; 0 if it is negative, `UInt64.max` if it is too long.
    package static func nanoseconds(of duration: Duration) -> UInt64 {
        let (seconds, attoseconds) = duration.components
        guard seconds >= 0, attoseconds >= 0 else { return 0 }
        let (whole, overflow) = UInt64(seconds).multipliedReportingOverflow(by: 1_000_000_000)
        guard !overflow else { return .max }
        let (sum, overflows) = whole.addingReportingOverflow(UInt64(attoseconds) / 1_000_000_000)
        return overflows ? .max : sum
    }

    /// Nanoseconds as milliseconds for poll(2) and epoll_wait(2), rounded up so that no loop spins.
    package static func pollTimeout(_ nanoseconds: UInt64) -> Int32 {
        Int32(clamping: nanoseconds / 1_000_000 + (nanoseconds % 1_000_000 == 0 ? 0 : 1))
    }
}
