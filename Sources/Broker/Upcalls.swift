internal import Control
internal import Keyrings
internal import Policy
internal import Settings
internal import System
internal import Unconfined
internal import Upcall
internal import Wire

/// One way in, and the namespace that it leads to; `nil` for the one that tlshd was started in.
struct WayIn {
    let upcall: any Upcall
    let namespace: NamespaceName?
    /// Its descriptors, as long as they are watched.
    let sources: [BrokerSource]
}

/// A network namespace that is served.
struct ServedNamespace {
    let name: NamespaceName?
    /// Its ways in.
    let ways: [Int]
    /// Who else listens there, by the inodes of their sockets; what was said about each.
    var rivals: [UInt64: String] = [:]
    /// How many more there are.
    var otherRivals = 0
}

/// An AF_TLSH listener that another process keeps us from having, and when it is tried again.
struct TakenListener {
    let family: ListenerFamily
    let parameters: ListenerParameters
    /// CLOCK_MONOTONIC nanoseconds.
    var nextTry: UInt64
    var delay: UInt64
    /// What the log said of it last; said again when it changes.
    var complaint: String

    static let firstDelay: UInt64 = 1_000_000_000
    static let longestDelay: UInt64 = 60_000_000_000
}

/// How requests come in: netlink sockets and AF_TLSH listeners, in each network namespace that is served. Opens them,
/// takes requests off them, watches who else listens, and lets go of namespaces that are gone.
final class Upcalls {
    private var takenListeners: [TakenListener] = []
    /// In the order in which they were opened.
    private(set) var ways: [Int: WayIn] = [:]
    private(set) var lastWay = 0
    var served: [NamespaceIdentity: ServedNamespace] = [:]
    /// What was said last about a namespace that cannot be served, so that it is said once.
    private var namespaceProblems: [NamespaceIdentity: String] = [:]
    private var scanProblems: [String] = []
    private var nextScan: UInt64 = 0
    private var nextRivalLook: UInt64 = 0
    /// Set when a way in had more requests than were taken in one turn.
    private var isBehind = false
    /// Set when ways in are to be opened: not before there is a worker.
    var isOpen = false
    private var namespaceSource: BrokerSource?

    private unowned let broker: Broker
    private var log: DaemonLog { broker.log }

    init(_ broker: Broker) { self.broker = broker }

    func addSchedules(to loop: EventLoop<StartFailure>) {
        loop.schedule({ [unowned self] in isBehind ? 0 : nil }) { [unowned self] _ in catchUp() }
        loop.schedule({ [unowned self] in nextScan }) { [unowned self] now in scan(now) }
        loop.schedule({ [unowned self] in nextRivalLook }) { [unowned self] now in lookForRivals(now) }
        loop.schedule({ [unowned self] in takenListeners.map(\.nextTry).min() }) {
            [unowned self] (now) throws(StartFailure) in try retryListeners(now)
        }
    }

    /// Watches the folder of the namespaces' names.
    func watchNamespaces() throws(SystemError) {
        namespaceSource?.cancel()
        namespaceSource = try broker.loop.watch(broker.namespaces.number) { [unowned self] _ in scan(broker.loop.now) }
    }

    /// Opens every way in that this kernel has, wherever the settings say.
    ///
    /// - Throws: `StartFailure` when the namespace that tlshd was started in is to be served and cannot, naming the
    ///   option.
    func open() throws(StartFailure) {
        isOpen = true
        if broker.configuration.settings.namespaces.initial {
            do {
                try open(broker.namespaces.home, NamespaceScan.Place(name: nil, path: ""))
            } catch {
                throw StartFailure(error.description)
            }
        }
        scan(broker.loop.now)
    }

    /// Serves one way in from now on.
    func add(_ upcall: any Upcall, namespace: NamespaceName? = nil) throws(StartFailure) {
        do {
            _ = try watch(upcall, namespace)
        } catch {
            throw StartFailure(error.description)
        }
    }

    /// Takes what waits, and then no more: consumers find nobody who listens.
    func close() {
        drainAll()
        for way in ways.values {
            for source in way.sources { source.cancel() }
            way.upcall.retire()
        }
    }

    /// Looks which namespaces there are; serves those that are new and lets go of those that have gone.
    func scan(_ now: UInt64) {
        nextScan = now + Self.scanInterval
        let settings = broker.configuration.settings.namespaces
        // In any case, for what nobody takes would wake the loop again and again.
        broker.namespaces.drain(watching: settings.named && !broker.lifecycle.isStopping)
        guard isOpen, !broker.lifecycle.isStopping, settings.watchesOthers || !served.isEmpty else { return }
        let own = Set(broker.pool.processes + [Host.processIdentifier])
        let result = broker.namespaces.take(settings, besides: own)
        // A file that is no namespace yet becomes one within milliseconds, if ever.
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

    /// How often namespaces are looked for when nothing tells, in nanoseconds.
    private static let scanInterval: UInt64 = 900_000_000
    private static let retryInterval: UInt64 = 20_000_000

    func note(_ result: NamespaceScan.Result) {
        var problems: [String] = []
        if result.hiddenProcesses > 0 {
            problems.append(
                "processes do not tell their network namespaces, which are not served; "
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
            let problem = error.description
            guard namespaceProblems.updateValue(problem, forKey: identity) != problem else { return }
            log.error("namespace \(Self.text(place.name)) is not served: \(problem)", .namespaceNotServed)
        }
    }

    private func open(_ identity: NamespaceIdentity, _ place: NamespaceScan.Place) throws(UpcallError) {
        var opened = Result<[any Upcall], UpcallError>.success([])
        do throws(SystemError) {
            if place.name == nil {
                opened = opening(identity, isHome: true)
            } else {
                opened = try broker.namespaces.visit(place.path, identity) {
                    opening(identity, isHome: false)
                }
            }
            if case .success(let upcalls) = opened { try serve(identity, place.name, upcalls) }
        } catch {
            throw .system(error)
        }
        _ = try opened.get()
    }

    private func opening(_ identity: NamespaceIdentity, isHome: Bool) -> Result<[any Upcall], UpcallError> {
        do throws(UpcallError) {
            return .success(try openHere(identity, isHome: isHome))
        } catch {
            return .failure(error)
        }
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
        served[identity] = ServedNamespace(name: name, ways: numbers)
        for upcall in upcalls { broker.handover.store(upcall, identity) }
        if let name { log.info("namespace \(name) is served") }
        nextRivalLook = 0
        for number in numbers { if let way = ways[number] { drain(way) } }
    }

    /// Takes what waits, then no more. Handshakes under way go on; the last one lets go of the sockets that lead there,
    /// and with them of the namespace.
    private func leave(_ identity: NamespaceIdentity) {
        guard let gone = served.removeValue(forKey: identity) else { return }
        for number in gone.ways {
            guard let way = ways[number] else { continue }
            unwatch(number)
            drain(way)
            broker.handover.remove(way.upcall, identity)
            way.upcall.retire()
        }
        log.info("namespace \(Self.text(gone.name)) is no longer served")
    }

    private func watch(_ upcall: any Upcall, _ namespace: NamespaceName?) throws(SystemError) -> Int {
        lastWay += 1
        let number = lastWay
        // Few requests may wait with the kernel, and answers can.
        var sources: [BrokerSource] = []
        for descriptor in upcall.descriptors {
            sources.append(
                try broker.loop.watch(descriptor, isUrgent: true) { [unowned self] _ in
                    if let way = ways[number] { drain(way) }
                })
        }
        ways[number] = WayIn(upcall: upcall, namespace: namespace, sources: sources)
        return number
    }

    private func unwatch(_ number: Int) {
        for source in ways.removeValue(forKey: number)?.sources ?? [] { source.cancel() }
    }

    private static func text(_ name: NamespaceName?) -> String { name?.description ?? "that tlshd was started in" }

    /// Who that is, as far as /proc shows: without CAP_SYS_PTRACE, others' sockets are hidden.
    private static func text(_ rival: RivalListener) -> String {
        let guess = ProcessTable.holder(ofNetlinkPort: rival.port)
        if let holder = ProcessTable.holder(ofSocket: rival.inode, guess: guess?.process ?? 0) {
            return LogLine.printable(holder.description)
        }
        guard let guess else { return "a process that tlshd may not see (`tlshctl check` names it)" }
        return LogLine.printable("\(guess.name) (process \(guess.process), to go by its socket's number)")
    }

    /// Says who else has joined the group that the kernel's notifications go to.
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
                    "\(who) listens for TLS handshakes\(place), too: it may take requests from us, and while it listens "
                        + "the kernel lets requests wait that nobody takes; remedy: stop one of the two", .rivalListens)
            }
            served[identity]?.rivals = rivals
            let others = present.count - rivals.count
            if others > 0, namespace.otherRivals == 0 {
                log.warning(
                    "\(others) more sockets listen for TLS handshakes\(place); `tlshctl check` names their processes",
                    .rivalListens)
            }
            served[identity]?.otherRivals = others
        }
    }

    /// Rivals of a namespace that are named. Anybody may join the group as often as descriptors allow, and to find out
    /// who it is means to look through all of /proc.
    static let namedRivals = 8

    private func rivals(in namespace: ServedNamespace) throws(UpcallError) -> [UInt64: RivalListener] {
        var present: [UInt64: RivalListener] = [:]
        for number in namespace.ways {
            for rival in try ways[number]?.upcall.rivals() ?? [] { present[rival.inode] = rival }
        }
        return present
    }

    // MARK: Requests

    /// Takes requests off an upcall until there are no more, and only then looks at them: the kernel refuses those that
    /// come while it keeps too many.
    private func drain(_ way: WayIn) {
        var taken: [(accepted: AcceptedHandshake, keyring: KeySerial?)] = []
        func pass() {
            for request in taken {
                broker.handshakes.take(
                    request.accepted, keyring: request.keyring, from: way.upcall, in: way.namespace)
            }
            taken = []
        }
        let problems = way.upcall.drain { accepted in
            // Before the next ACCEPT, which adds its own.
            taken.append((accepted, consumerKeyring()))
            if taken.count >= Self.batch { pass() }
        }
        pass()
        isBehind = isBehind || way.upcall.isBehind
        for problem in problems {
            log.error((way.namespace.map { "namespace \($0): " } ?? "") + problem.description)
        }
    }

    /// Takes what waits everywhere.
    func drainAll() {
        for way in ways.values { drain(way) }
    }

    /// Takes more where the last turn left some.
    private func catchUp() {
        isBehind = false
        for way in ways.values where way.upcall.isBehind { drain(way) }
    }

    /// Requests that are taken before the first of them gets its turn.
    private static let batch = 32

    private func consumerKeyring() -> KeySerial? {
        do {
            return try broker.keys.kernel.takeConsumerKeyring()
        } catch {
            log.error("the consumer's keyring cannot be told apart: \(error.description)")
            return nil
        }
    }

    // MARK: The namespace that the thread is in

    /// Opens every way in of the network namespace that the thread is in now.
    ///
    /// - Parameters:
    ///   - identity: that namespace.
    ///   - isHome: it is the one that tlshd was started in. Only there a listener that is taken is tried again.
    /// - Throws: why there is none; `.familyMissing` where the kernel has neither.
    func openHere(_ identity: NamespaceIdentity, isHome: Bool) throws(UpcallError) -> [any Upcall] {
        var ways: [any Upcall] = []
        var lack: UpcallError?
        do throws(UpcallError) {
            let upcall = try broker.surroundings.openNetlink(
                broker.handover.inherited(NetlinkUpcall.storeName, identity))
            ways.append(upcall)
            if isHome, !broker.tags.names.isEmpty, !upcall.takesTags {
                log.notice("this kernel takes no session tags; they stand in the log lines only")
            }
        } catch {
            guard case .familyMissing = error else { throw error }
            lack = error
        }
        ways += openListeners(identity, isHome: isHome)
        guard let lack else { return ways }
        guard !ways.isEmpty || !takenListeners.isEmpty else { throw lack }
        log.notice("only AF_TLSH is served: \(lack.description)")
        return ways
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
                            delay: TakenListener.firstDelay, complaint: error.description))
                case .familyMissing, .consumerGone, .system, .rejected, .malformed, .noReply:
                    log.error("AF_TLSH is not served for \(family.name): \(error.description)")
                }
            }
        }
        return listeners
    }

    /// What the service manager shows.
    var servingStatus: String {
        (["Serving handshakes"] + takenListeners.map(\.complaint)).joined(separator: "; ")
    }

    /// Tries the listeners again that were taken, each less often from time to time.
    func retryListeners(_ now: UInt64) throws(StartFailure) {
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
                guard error.description != taken.complaint else { continue }
                takenListeners[index].complaint = error.description
                log.error(error.description)
                broker.tell("STATUS=\(servingStatus)")
                continue
            }
            takenListeners.remove(at: index)
            try add(upcall)
            broker.handover.store(upcall, broker.namespaces.home)
            log.notice("AF_TLSH is served for \(taken.family.name) now")
            broker.tell("STATUS=\(servingStatus)")
            drainAll()
        }
    }

    // MARK: For reports

    func describe() -> [ServiceReport.Namespace] {
        served.values.map { namespace in
            let transports = Set(namespace.ways.compactMap { ways[$0]?.upcall }.map { $0 is ListenerUpcall })
            return ServiceReport.Namespace(
                name: namespace.name?.description ?? "",
                transports: transports.map { $0 ? "AF_TLSH" : "netlink" }.sorted(),
                rivals: namespace.rivals.values.sorted())
        }.sorted { $0.name < $1.name }
    }

    /// What keeps requests from coming in.
    var problems: [String] {
        takenListeners.map(\.complaint) + namespaceProblems.values.sorted().map { "a namespace is not served: \($0)" }
            + scanProblems
    }
}
