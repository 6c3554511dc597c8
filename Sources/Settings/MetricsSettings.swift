/// `[metrics]`: outputs of metrics besides the control socket.
package struct MetricsSettings: Equatable, Sendable {
    /// `textfile`: absolute path of a file for node_exporter; `nil` for none.
    package var textfile: String?

    /// node_exporter reads only files with this suffix.
    private static let suffix = ".prom"
    /// PATH_MAX without its NUL and without the suffix of the temporary name.
    private static let longest = 4000

    package init() {}

    fileprivate static func isUsable(_ path: String) -> Bool {
        path.hasPrefix("/") && path.hasSuffix(suffix) && path.utf8.count <= longest
    }
}

extension SettingsReader {
    /// Reads `[metrics]`. An invalid value leaves the default, which writes no file.
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
