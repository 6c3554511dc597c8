internal import Control
internal import Handshake
internal import Keyrings
package import Policy
package import Settings
package import System
package import Unconfined
internal import Upcall
internal import Wire

/// An upcall, and the namespace whose requests it receives; `nil` for the namespace that tlshd was started in.
struct RequestSource {
    let upcall: any Upcall
    let namespace: NamespaceName?
    /// Event sources of its descriptors.
    let eventSources: [BrokerSource]
}

/// A network namespace that is served.
struct ServedNamespace {
    let name: NamespaceName?
    /// Numbers of its request sources.
    let sources: [Int]
    /// Other processes that listen there, by the inodes of their sockets; each as it was logged.
    var rivals: [UInt64: String] = [:]
    /// Number of other listeners that were not named.
    var otherRivals = 0
}

/// An AF_TLSH listener that another process already has, and the time of the next attempt to open it.
struct TakenListener {
    let family: ListenerFamily
    let parameters: ListenerParameters
    /// CLOCK_MONOTONIC nanoseconds.
    var nextTry: UInt64
    var delay: UInt64
    /// Error of the last attempt. It is logged when it changes.
    var problem: String

    static let firstDelay: UInt64 = 1_000_000_000
    static let longestDelay: UInt64 = 60_000_000_000
}

/// The sources of requests: netlink sockets and AF_TLSH listeners in each network namespace that is served. Opens them,
/// accepts requests, reports other listeners, and closes the sockets of deleted namespaces.
final class Upcalls {
    private var takenListeners: [TakenListener] = []
    /// Keyed by number, in the order in which they were opened.
    private(set) var sources: [Int: RequestSource] = [:]
    private(set) var lastSource = 0
    var served: [NamespaceIdentity: ServedNamespace] = [:]
    /// Last error of each namespace that cannot be served. It is logged when it changes.
    private var namespaceProblems: [NamespaceIdentity: String] = [:]
    private var scanProblems: [String] = []
    private var nextScan: UInt64 = 0
    private var nextRivalLook: UInt64 = 0
    /// True if a source has requests that were not accepted in the last turn of the loop.
    private var isBehind = false
    /// True once sources may be opened, that is when a worker is ready.
    var isOpen = false
    private var namespaceSource: BrokerSource?

    private unowned let broker: Broker
    private var log: DaemonLog { broker.log }

    init(_ broker: Broker) { self.broker = broker }

    func addSchedules(to loop: EventLoop) {
        loop.schedule({ [unowned self] in isBehind ? 0 : nil }) { [unowned self] _ in catchUp() }
        loop.schedule({ [unowned self] in nextScan }) { [unowned self] now in scan(now) }
        loop.schedule({ [unowned self] in nextRivalLook }) { [unowned self] now in lookForRivals(now) }
        loop.schedule({ [unowned self] in takenListeners.map(\.nextTry).min() }) { [unowned self] now in
            try retryListeners(now)
        }
    }

    /// Watches the directory of named namespaces.
    func watchNamespaces() throws(SystemError) {
        namespaceSource?.cancel()
        namespaceSource = try broker.loop.watch(broker.namespaces.number) { [unowned self] _ in scan(broker.loop.now) }
    }

    /// Opens all upcalls that this kernel has in the namespaces to serve.
    ///
    /// - Throws: An error if the namespace that tlshd was started in is to be served and cannot be.
    func open() throws {
        isOpen = true
        if broker.configuration.settings.namespaces.initial {
            try open(broker.namespaces.home, NamespaceScan.Place(name: nil, path: ""))
        }
        scan(broker.loop.now)
    }

    /// Adds a source of requests.
    func add(_ upcall: any Upcall, namespace: NamespaceName? = nil) throws(SystemError) {
        _ = try watch(upcall, namespace)
    }

    /// Accepts pending requests and closes all sources: the kernel then refuses new requests, because nobody listens.
    func close() {
        drainAll()
        for source in sources.values {
            for eventSource in source.eventSources { eventSource.cancel() }
            source.upcall.retire()
        }
    }

    /// Scans the namespaces. Serves new ones and stops serving deleted ones.
    func scan(_ now: UInt64) {
        nextScan = now + Self.scanInterval
        let settings = broker.configuration.settings.namespaces
        // Unconditionally, because pending events would wake the loop again and again.
        broker.namespaces.drain(watching: settings.named && !broker.lifecycle.isStopping)
        guard isOpen, !broker.lifecycle.isStopping, settings.watchesOthers || !served.isEmpty else { return }
        let own = Set(broker.pool.processes + [ThisProcess.identifier])
        let result = broker.namespaces.take(settings, besides: own)
        // A file becomes a namespace within milliseconds of its creation, if at all.
        if result.isIncomplete { nextScan = now + Self.retryInterval }
        for (identity, known) in served
        where result.places[identity]?.name != known.name
            || result.places[identity] == nil
        {
            leave(identity)
        }
        for (identity, place) in result.places where served[identity] == nil { enter(identity, place) }
        namespaceProblems = namespaceProblems.filter { result.places[$0.key] != nil }
        note(result)
    }

    /// Interval between scans without an event, in nanoseconds.
    private static let scanInterval: UInt64 = 900_000_000
    private static let retryInterval: UInt64 = 20_000_000

    func note(_ result: NamespaceScan.Result) {
        var problems: [String] = []
        if result.hiddenProcesses > 0 {
            problems.append(
                "the network namespaces of some processes cannot be read and are not served; "
                    + "remedy: CAP_SYS_PTRACE, or processes=no")
        }
        if result.leftOut > 0 {
            problems.append(
                "more than \(NamespaceScan.limit) network namespaces exist, and the others are not served; "
                    + "remedy: names= those that need it")
        }
        for problem in problems where !scanProblems.contains(problem) { log.warning(problem, .namespaceNotServed) }
        scanProblems = problems
    }

    private func enter(_ identity: NamespaceIdentity, _ place: NamespaceScan.Place) {
        do {
            try open(identity, place)
            namespaceProblems[identity] = nil
        } catch {
            let problem = "\(error)"
            guard namespaceProblems.updateValue(problem, forKey: identity) != problem else { return }
            log.error("namespace \(Self.text(place.name)) is not served: \(problem)", .namespaceNotServed)
        }
    }

    private func open(_ identity: NamespaceIdentity, _ place: NamespaceScan.Place) throws {
        let opened =
            place.name == nil
            ? Result { try openHere(identity, isHome: true) }
            : try broker.namespaces.visit(place.path, identity) { Result { try openHere(identity, isHome: false) } }
        try serve(identity, place.name, opened.get())
    }

    private func serve(
        _ identity: NamespaceIdentity, _ name: NamespaceName?, _ upcalls: [any Upcall]
    ) throws(SystemError) {
        var numbers: [Int] = []
        do {
            for upcall in upcalls { numbers.append(try watch(upcall, name)) }
        } catch {
            for number in numbers { unwatch(number) }
            throw error
        }
        served[identity] = ServedNamespace(name: name, sources: numbers)
        for upcall in upcalls { broker.handover.store(upcall, identity) }
        if let name { log.info("namespace \(name) is served") }
        nextRivalLook = 0
        for number in numbers { if let source = sources[number] { drain(source) } }
    }

    /// Accepts pending requests and closes the sources of a namespace. In-flight handshakes keep the namespace alive
    /// until they finish.
    private func leave(_ identity: NamespaceIdentity) {
        guard let gone = served.removeValue(forKey: identity) else { return }
        for number in gone.sources {
            guard let source = sources[number] else { continue }
            unwatch(number)
            drain(source)
            broker.handover.remove(source.upcall, identity)
            source.upcall.retire()
        }
        log.info("namespace \(Self.text(gone.name)) is no longer served")
    }

    private func watch(_ upcall: any Upcall, _ namespace: NamespaceName?) throws(SystemError) -> Int {
        lastSource += 1
        let number = lastSource
        // Urgent, because the kernel keeps few requests, and an answer can be delayed.
        var eventSources: [BrokerSource] = []
        for descriptor in upcall.descriptors {
            eventSources.append(
                try broker.loop.watch(descriptor, isUrgent: true) { [unowned self] _ in
                    if let source = sources[number] { drain(source) }
                })
        }
        sources[number] = RequestSource(upcall: upcall, namespace: namespace, eventSources: eventSources)
        return number
    }

    private func unwatch(_ number: Int) {
        for eventSource in sources.removeValue(forKey: number)?.eventSources ?? [] { eventSource.cancel() }
    }

    private static func text(_ name: NamespaceName?) -> String { name?.description ?? "that tlshd was started in" }

    /// Name of the process that listens, if /proc shows it: without CAP_SYS_PTRACE, the sockets of other users are
    /// hidden.
    private static func text(_ rival: RivalListener) -> String {
        let guess = ProcessTable.holder(ofNetlinkPort: rival.port)
        if let holder = ProcessTable.holder(ofSocket: rival.inode, guess: guess?.process ?? 0) {
            return LogLine.printable(holder.description)
        }
        guard let guess else { return "a process that tlshd may not see (`tlshctl check` names it)" }
        return LogLine.printable("\(guess.name) (process \(guess.process), to go by its socket's number)")
    }

    /// Logs other members of the multicast group that READY is sent to.
    func lookForRivals(_ now: UInt64) {
        nextRivalLook = now + 10_000_000_000
        for (identity, namespace) in served {
            let present: [UInt64: RivalListener]
            do {
                present = try rivals(in: namespace)
            } catch {
                log.debug("namespace \(Self.text(namespace.name)): \(error.description)")
                continue
            }
            let place = namespace.name.map { " in namespace \($0)" } ?? ""
            for (inode, who) in namespace.rivals where present[inode] == nil {
                log.notice("\(who) does not listen for TLS handshakes\(place) any longer", .rivalGone)
            }
            var rivals = namespace.rivals.filter { present[$0.key] != nil }
            let new = present.keys.filter { rivals[$0] == nil }.sorted()
            for inode in new.prefix(Self.namedRivals - rivals.count) {
                guard let rival = present[inode] else { continue }
                let who = Self.text(rival)
                rivals[inode] = who
                log.warning(
                    "\(who) listens for TLS handshakes\(place), too: it may take requests from us, and while both "
                        + "listen, requests can be left unanswered; remedy: stop one of the two", .rivalListens)
            }
            served[identity]?.rivals = rivals
            let others = present.count - rivals.count
            if others > 0, namespace.otherRivals == 0 {
                log.warning(
                    "\(others.counted("more socket listens", "more sockets listen")) for TLS handshakes\(place); `tlshctl check` "
                        + "names their processes",
                    .rivalListens)
            }
            served[identity]?.otherRivals = others
        }
    }

    /// Maximum number of other listeners per namespace that are named. A process may join the group as often as its
    /// descriptors allow, and finding its name takes a scan of all of /proc.
    static let namedRivals = 8

    private func rivals(in namespace: ServedNamespace) throws(UpcallError) -> [UInt64: RivalListener] {
        var present: [UInt64: RivalListener] = [:]
        for number in namespace.sources {
            for rival in try sources[number]?.upcall.rivals() ?? [] { present[rival.inode] = rival }
        }
        return present
    }

    // MARK: Requests

    /// Accepts all pending requests and processes them afterwards, because the kernel refuses requests while it keeps
    /// too many.
    private func drain(_ source: RequestSource) {
        var taken: [(accepted: AcceptedHandshake, keyring: KeySerial?)] = []
        func pass() {
            for request in taken {
                broker.handshakes.take(
                    request.accepted, keyring: request.keyring, from: source.upcall, in: source.namespace)
            }
            taken = []
        }
        let problems = source.upcall.drain { accepted in
            // The next ACCEPT links another keyring.
            taken.append((accepted, consumerKeyring()))
            if taken.count >= Self.batch { pass() }
        }
        pass()
        isBehind = isBehind || source.upcall.isBehind
        for problem in problems {
            log.error((source.namespace.map { "namespace \($0): " } ?? "") + problem.description)
        }
    }

    /// Accepts the pending requests of all sources.
    func drainAll() {
        for source in sources.values { drain(source) }
    }

    /// Accepts the requests that were left in the last turn of the loop.
    private func catchUp() {
        isBehind = false
        for source in sources.values where source.upcall.isBehind { drain(source) }
    }

    /// Maximum number of requests to accept before the first of them is processed.
    private static let batch = 32

    private func consumerKeyring() -> KeySerial? {
        do {
            return try broker.keys.kernel.takeConsumerKeyring()
        } catch {
            log.error("the consumer's keyring cannot be identified: \(error.description)")
            return nil
        }
    }

    // MARK: The namespace that the thread is in

    /// Opens all upcalls in the network namespace that the thread is currently in.
    ///
    /// - Parameters:
    ///   - identity: the identity of that namespace.
    ///   - isHome: true for the namespace that tlshd was started in. Only there a listener that another process has is
    ///     tried again.
    /// - Throws: The reason if there is no upcall; `.familyMissing` if the kernel has neither kind.
    func openHere(_ identity: NamespaceIdentity, isHome: Bool) throws(UpcallError) -> [any Upcall] {
        var upcalls: [any Upcall] = []
        var missing: UpcallError?
        do throws(UpcallError) {
            let upcall = try broker.surroundings.openNetlink(
                broker.handover.inherited(NetlinkUpcall.storeName, identity))
            upcalls.append(upcall)
            if isHome, !broker.tags.names.isEmpty, !upcall.takesTags {
                log.notice("this kernel takes no session tags; they are in the log lines only")
            }
        } catch {
            guard case .familyMissing = error else { throw error }
            missing = error
        }
        upcalls += openListeners(identity, isHome: isHome)
        guard let missing else { return upcalls }
        guard !upcalls.isEmpty || !takenListeners.isEmpty else { throw missing }
        log.notice("only AF_TLSH is served: \(missing.description)")
        return upcalls
    }

    private func openListeners(_ identity: NamespaceIdentity, isHome: Bool) -> [any Upcall] {
        let settings = broker.configuration.settings.listener
        let parameters = ListenerParameters(
            family: Int32(clamping: settings.family.value), level: Int32(clamping: settings.level.value))
        var listeners: [any Upcall] = []
        for family in ListenerFamily.allCases {
            do throws(UpcallError) {
                let kept = broker.handover.inherited(family.storeName, identity)
                listeners.append(try broker.surroundings.openListener(family, parameters, kept))
                log.debug("AF_TLSH is served for \(family.name)")
            } catch {
                switch error {
                case .listenerMissing:
                    log.debug(error.description)
                    return listeners
                case .listenerTaken:
                    log.error(error.description)
                    guard isHome else { continue }
                    takenListeners.append(
                        TakenListener(
                            family: family, parameters: parameters,
                            nextTry: broker.loop.now + TakenListener.firstDelay,
                            delay: TakenListener.firstDelay, problem: error.description))
                case .familyMissing, .consumerGone, .system, .rejected, .malformed, .noReply:
                    log.error("AF_TLSH is not served for \(family.name): \(error.description)")
                }
            }
        }
        return listeners
    }

    /// Status text for the service manager.
    var servingStatus: String {
        (["Serving handshakes"] + takenListeners.map(\.problem)).joined(separator: "; ")
    }

    /// Retries listeners that another process had, with increasing delay.
    func retryListeners(_ now: UInt64) throws(SystemError) {
        guard !broker.lifecycle.isStopping else { return takenListeners = [] }
        for index in takenListeners.indices.reversed() where takenListeners[index].nextTry <= now {
            let taken = takenListeners[index]
            let upcall: any Upcall
            do throws(UpcallError) {
                upcall = try broker.surroundings.openListener(taken.family, taken.parameters, nil)
            } catch {
                let delay = min(taken.delay * 2, TakenListener.longestDelay)
                takenListeners[index].delay = delay
                takenListeners[index].nextTry = now + delay
                guard error.description != taken.problem else { continue }
                takenListeners[index].problem = error.description
                log.error(error.description)
                broker.notify("STATUS=\(servingStatus)")
                continue
            }
            takenListeners.remove(at: index)
            try add(upcall)
            broker.handover.store(upcall, broker.namespaces.home)
            log.notice("AF_TLSH is served for \(taken.family.name) now")
            broker.notify("STATUS=\(servingStatus)")
            drainAll()
        }
    }

    // MARK: For reports

    func describe() -> [ServiceReport.Namespace] {
        served.values.map { namespace in
            let transports = Set(namespace.sources.compactMap { sources[$0]?.upcall }.map { $0 is ListenerUpcall })
            return ServiceReport.Namespace(
                name: namespace.name?.description ?? "",
                transports: transports.map { $0 ? "AF_TLSH" : "netlink" }.sorted(),
                rivals: namespace.rivals.values.sorted())
        }.sorted { $0.name < $1.name }
    }

    /// Reasons why requests do not arrive.
    var problems: [String] {
        takenListeners.map(\.problem) + namespaceProblems.values.sorted().map { "a namespace is not served: \($0)" }
            + scanProblems
    }
}

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
