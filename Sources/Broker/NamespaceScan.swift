package import Policy
package import Settings
package import System
package import Unconfined

/// The network namespaces of this host.
package protocol NetworkNamespaces: AnyObject {
    /// Readable when a named namespace was added or removed.
    var number: Int32 { get }
    /// The namespace that tlshd was started in.
    var home: NamespaceIdentity { get }
    /// Discards pending events. Further events are reported only if `isWanted`.
    func drain(watching isWanted: Bool)
    /// Scans the namespaces, except those of the processes in `own`.
    func take(_ settings: NamespaceSettings, besides own: Set<Int32>) -> NamespaceScan.Result
    /// Runs `body` in a namespace; see `NetworkNamespace.visit`.
    func visit<Value>(
        _ path: String, _ expected: NamespaceIdentity, _ body: () -> Value
    ) throws(SystemError) -> Value
}

/// Finds and enters the network namespaces to serve.
package final class NamespaceScan: NetworkNamespaces {
    /// Location of a namespace.
    package struct Place: Equatable {
        /// `nil` for the namespace that tlshd was started in.
        package let name: NamespaceName?
        /// The file to enter it by, which may disappear at any time.
        package let path: String

        package init(name: NamespaceName?, path: String) {
            self.name = name
            self.path = path
        }
    }

    /// Result of a scan.
    package struct Result {
        package var places: [NamespaceIdentity: Place] = [:]
        /// True if there are files that are not namespaces yet: `ip netns add` creates the file first.
        var isIncomplete = false
        /// Number of processes whose namespace cannot be read.
        var hiddenProcesses = 0
        /// Number of namespaces beyond the limit.
        var leftOut = 0

        package init() {}
    }

    /// Limited, because each namespace takes three descriptors, and handshakes need descriptors too.
    static let limit = 1024

    private let namespace: NetworkNamespace
    private var folder: FolderWatch

    /// - Parameter path: the directory to watch, for tests.
    init(watching path: String = NamespaceName.folder) throws(SystemError) {
        let folder = try FolderWatch(path)
        namespace = try NetworkNamespace()
        self.folder = folder
    }

    /// Readable when a named namespace was added or removed.
    package var number: Int32 { folder.number }
    package var home: NamespaceIdentity { namespace.homeIdentity }

    /// Discards pending events. Further events are reported only if `isWanted`.
    package func drain(watching isWanted: Bool) { folder.drain(watching: isWanted) }

    /// Scans the namespaces. Of several names of a namespace the first is used, in this order: the initial namespace,
    /// the directory of named namespaces, names in the settings, processes.
    ///
    /// - Parameter own: our own processes, which are skipped.
    package func take(_ settings: NamespaceSettings, besides own: Set<Int32>) -> Result {
        var result = Result()
        if settings.initial { result.places[home] = Place(name: nil, path: "/proc/thread-self/ns/net") }
        var names: [NamespaceName] = []
        if settings.named {
            names += ProcessTable.names(in: NamespaceName.folder).sorted().compactMap { NamespaceName($0) }
        }
        names += settings.names.filter { !names.contains($0) }
        for name in names { add(name, to: &result) }
        if settings.processes {
            let found = ProcessTable.namespaces(besides: own)
            result.hiddenProcesses = found.hidden
            for (inode, process) in found.processByInode {
                // All namespaces are files of one file system.
                let identity = NamespaceIdentity(device: home.device, inode: inode)
                add(identity, Place(name: .unnamed(inode: inode), path: "/proc/\(process)/ns/net"), to: &result)
            }
        }
        return result
    }

    package func visit<Value>(
        _ path: String, _ expected: NamespaceIdentity, _ body: () -> Value
    ) throws(SystemError) -> Value {
        try namespace.visit(path, expected, body)
    }

    private func add(_ name: NamespaceName, to result: inout Result) {
        guard let path = name.path else { return }
        do throws(SystemError) {
            add(try NamespaceIdentity(ofPath: path), Place(name: name, path: path), to: &result)
        } catch {
            if error.number == .enotty || error.number == .eacces { result.isIncomplete = true }
        }
    }

    private func add(_ identity: NamespaceIdentity, _ place: Place, to result: inout Result) {
        guard identity != home, result.places[identity] == nil else { return }
        guard result.places.count < Self.limit else {
            result.leftOut += 1
            return
        }
        result.places[identity] = place
    }
}
