/// `[metrics]`: where figures go besides the control socket.
package struct MetricsSettings: Equatable, Sendable {
    /// `textfile`: a file for node_exporter, absolute; `nil` for none.
    package var textfile: String?

    /// node_exporter reads files of this name alone.
    private static let suffix = ".prom"
    /// PATH_MAX less its NUL, and less what a passing name adds to it.
    private static let longest = 4000

    package init() {}

    fileprivate static func isUsable(_ path: String) -> Bool {
        path.hasPrefix("/") && path.hasSuffix(suffix) && path.utf8.count <= longest
    }
}

extension SettingsReader {
    /// What cannot be used leaves the default, by which no file is written.
    mutating func metrics() -> MetricsSettings {
        var settings = MetricsSettings()
        if let (path, found) = pathText(.metricsTextfile), path != "none" {
            if MetricsSettings.isUsable(path) {
                settings.textfile = path
            } else {
                notice(found, "\(found.name) must be an absolute path that ends in .prom, or none, and is ignored")
            }
        }
        note(.metricsTextfile, settings.textfile ?? "none", find(.metricsTextfile))
        return settings
    }
}
