internal import System
internal import Unconfined

/// Files as the service sees them: with its capabilities, and with its mounts. root in a shell reads and sees more.
struct ServiceView {
    /// The service in messages.
    private let subject: String
    /// True if the service has CAP_DAC_OVERRIDE or CAP_DAC_READ_SEARCH.
    private let readsAnyFile: Bool
    /// The root directory of the running service.
    private let root: String?
    /// True if the service has a /tmp and a /var/tmp of its own.
    private let hasOwnTemporaryFolders: Bool
    /// Properties of a service of which nothing is known; `nil` if they are known.
    let assumption: String?
    /// Severity of a file that the service cannot read. If nothing is known about the service, the unit is assumed.
    private let severity: Status

    /// The view of a running process.
    init(process: Int32) {
        subject = "tlshd (process \(process))"
        readsAnyFile = FilePermissions.areOverridden(by: process)
        root = "/proc/\(process)/root"
        hasOwnTemporaryFolders = false
        assumption = nil
        severity = .failed
    }

    /// The view that the unit gives to a service which does not run.
    ///
    /// - Parameter lines: the unit with its drop-in files; `nil` if it is not installed.
    init(unit lines: [Substring]?) {
        subject = "the service"
        root = nil
        severity = lines == nil ? .warning : .failed
        assumption =
            lines == nil
            ? "no tlshd runs, and no tlshd.service is installed: files are checked for a service that cannot read other users' "
                + "files (no CAP_DAC_OVERRIDE), and sees the same /tmp as this shell (no PrivateTmp=)" : nil
        func values(_ key: String) -> [Substring] {
            (lines ?? []).filter { $0.hasPrefix("\(key)=") }.map { $0.dropFirst(key.utf8.count + 1) }
        }
        let bounds = values("CapabilityBoundingSet")
        readsAnyFile =
            lines != nil && (bounds.isEmpty || bounds.contains { $0.contains("CAP_DAC_") && !$0.hasPrefix("~") })
        let own = values("PrivateTmp").last ?? "no"
        hasOwnTemporaryFolders = !["no", "false", "off", "0"].contains(own)
    }

    /// The view of the tlshd that runs, else of the unit.
    static let current =
        ListenerCheck.daemon.map { ServiceView(process: $0.process) } ?? ServiceView(unit: installedUnit())

    private static let unitFolders = ["/usr/lib/systemd/system", "/run/systemd/system", "/etc/systemd/system"]

    private static func installedUnit() -> [Substring]? {
        let units = unitFolders.map { "\($0)/tlshd.service" }
        guard let unit = units.last(where: { (try? FileIdentity(ofPath: $0)) != nil }) else { return nil }
        let dropIns = units.flatMap { unit in
            ProcessTable.names(in: "\(unit).d").filter { $0.hasSuffix(".conf") }.sorted().map { "\(unit).d/\($0)" }
        }
        return ([unit] + dropIns).flatMap { path in
            String(decoding: (try? ProcessTable.contents(of: path)) ?? [], as: UTF8.self).split(separator: "\n")
        }
    }

    /// A finding if root can read a file, but the service cannot.
    func finding(on path: String, _ area: Finding.Area) -> Finding? {
        unreadable(path, area) ?? unseen(path, area)
    }

    private func unreadable(_ path: String, _ area: Finding.Area) -> Finding? {
        guard !readsAnyFile, let obstacle = FilePermissions.obstacle(to: path),
            let identity = try? FileIdentity(ofPath: obstacle)
        else { return nil }
        let digits = String(identity.mode & 0o7777, radix: 8)
        let mode = String(repeating: "0", count: 4 - digits.count) + digits
        let remedy =
            if identity.owner == 0 {
                "chmod u+\(identity.isFolder ? "x" : "r") \(obstacle)"
            } else {
                "\(identity.isFolder ? "move it to /etc/tlshd" : "chown root \(obstacle)"), or foreign-files.conf"
            }
        return Finding(
            area, severity,
            "\(path) cannot be read by \(subject), though root in a shell can: \(obstacle) belongs to uid \(identity.owner) and "
                + "has mode \(mode)",
            remedy: remedy)
    }

    private func unseen(_ path: String, _ area: Finding.Area) -> Finding? {
        // The folder of files that systemd gives to the service is a mount of its own.
        guard !path.hasPrefix("%d/"), let real = FolderListing.realPath(of: path),
            let identity = try? FileIdentity(ofPath: real)
        else { return nil }
        let remedy = "move it to /etc/tlshd"
        if let root {
            do throws(SystemError) {
                let seen = try FileIdentity(ofPath: root + real)
                guard seen.inode != identity.inode || seen.device != identity.device else { return nil }
                return Finding(
                    area, .failed, "\(subject) has mounts of its own and sees another file at \(path)", remedy: remedy)
            } catch {
                guard error.number == .enoent || error.number == .enotdir else { return nil }
                return Finding(
                    area, .failed,
                    "\(subject) does not see the file \(path): it has mounts of its own, such as /tmp (PrivateTmp=)",
                    remedy: remedy)
            }
        }
        guard hasOwnTemporaryFolders, ["/tmp/", "/var/tmp/"].contains(where: real.hasPrefix) else { return nil }
        return Finding(
            area, severity,
            "\(path) is a file that \(subject) does not see: its unit gives it a /tmp of its own (PrivateTmp=)",
            remedy: remedy)
    }
}
