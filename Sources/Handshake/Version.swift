/// The version, the same for all programs.
package enum Version {
    package static let text = "0.2.0"

    /// Output of `tlshd --version`. Scripts take the words after `utils` as the version of ktls-utils, and require at
    /// least the features of that release (common/nvme of blktests: 1.0.0).
    package static let daemonLine = "tlshd \(text) (in place of ktls-utils \(replaced))"

    /// The release of ktls-utils whose options and settings are accepted.
    private static let replaced = "1.4.0"
}
