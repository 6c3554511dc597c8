internal import Glibc
package import Policy
package import Settings
package import System
package import Unconfined

/// The network namespaces of this host.
package protocol NetworkNamespaces: AnyObject {
    /// Readable when a name has come or gone.
    var number: Int32 { get }
    /// The one that tlshd was started in.
    var home: NamespaceIdentity { get }
    /// Takes what was told of names; tells of others only if that is wanted.
    func drain(watching isWanted: Bool)
    /// Looks around; `own` are processes that do not count.
    func take(_ settings: NamespaceSettings, besides own: Set<Int32>) -> NamespaceScan.Result
    /// Runs `body` in a namespace; see `NetworkNamespace.visit`.
    func visit<Value>(
        _ path: String, _ expected: NamespaceIdentity, _ body: () -> Value
    ) throws(SystemError) -> Value
}

/// Finds the network namespaces that are to be served, and goes there.
package final class NamespaceScan: NetworkNamespaces {
    /// Where a namespace was found.
    package struct Place: Equatable {
        /// `nil` for the one that tlshd was started in.
        package let name: NamespaceName?
        /// The file to enter it by; it may be gone at any moment.
        package let path: String

        package init(name: NamespaceName?, path: String) {
            self.name = name
            self.path = path
        }
    }

    /// What was found.
    package struct Result {
        package var places: [NamespaceIdentity: Place] = [:]
        /// There are names that are no namespaces yet; `ip netns add` makes the file first.
        var isIncomplete = false
        /// How many processes did not tell where they are.
        var hiddenProcesses = 0
        /// How many namespaces are too many.
        var leftOut = 0

        package init() {}
    }

    /// Each takes three descriptors; there must be room for handshakes.
    static let limit = 1024

    private let namespace: NetworkNamespace
    private var folder: FolderWatch

    /// - Parameter path: the folder to watch, for tests.
    init(watching path: String = NamespaceName.folder) throws(SystemError) {
        let folder = try FolderWatch(path)
        namespace = try NetworkNamespace()
        self.folder = folder
    }

    /// Readable when a name has come or gone.
    package var number: Int32 { folder.number }
    package var home: NamespaceIdentity { namespace.homeIdentity }

    /// Takes what was told of names; tells of others only if that is wanted.
    package func drain(watching isWanted: Bool) { folder.drain(watching: isWanted) }

    /// Looks around. A namespace that has several names is known by the first that comes: the initial one's, those of
    /// the folder, those of the settings, a process's.
    ///
    /// - Parameter own: processes that do not count, as they are ours.
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
            if error.number == ENOTTY || error.number == EACCES { result.isIncomplete = true }
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
