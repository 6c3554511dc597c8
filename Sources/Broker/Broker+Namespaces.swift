internal import Handshake
internal import Settings
internal import System
internal import Upcall

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

extension Broker {
    /// Opens every way in that this kernel has, wherever the settings say.
    ///
    /// - Throws: `StartFailure` when the namespace that tlshd was started in is to be served and cannot, naming the
    ///   option.
    func openUpcalls() throws(StartFailure) {
        isOpen = true
        if configuration.settings.namespaces.initial {
            do {
                try open(namespaces.home, NamespaceCensus.Place(name: nil, path: ""))
            } catch {
                throw StartFailure(error.description)
            }
        }
        takeCensus(Clock.monotonicNanoseconds())
    }

    /// Serves one way in from now on.
    func add(_ upcall: any Upcall, namespace: NamespaceName? = nil) throws(StartFailure) {
        do {
            _ = try watch(upcall, namespace)
        } catch {
            throw StartFailure(error.description)
        }
    }

    func drainAll() {
        for way in ways.values { drain(way) }
    }

    /// Takes what waits, and then no more: consumers find nobody who listens.
    func closeWays() {
        drainAll()
        for way in ways.values {
            for source in way.sources { source.cancel() }
            way.upcall.retire()
        }
    }

    /// Looks which namespaces there are; serves those that are new and lets go of those that have gone.
    func takeCensus(_ now: UInt64) {
        nextCensus = now + Self.censusInterval
        let settings = configuration.settings.namespaces
        // In any case, for what nobody takes would wake the loop again and again.
        namespaces.drain(watching: settings.named && !isStopping)
        guard isOpen, !isStopping, settings.watchesOthers || !served.isEmpty else { return }
        let own = Set(workers.values.map { $0.child.identifier } + [Host.processIdentifier])
        let result = namespaces.take(settings, besides: own)
        // A file that is no namespace yet becomes one within milliseconds, if ever.
        if result.isIncomplete { nextCensus = now + Self.retryInterval }
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
    private static let censusInterval: UInt64 = 900_000_000
    private static let retryInterval: UInt64 = 20_000_000

    func note(_ result: NamespaceCensus.Result) {
        var problems: [String] = []
        if result.hiddenProcesses > 0 {
            problems.append(
                "processes do not tell their network namespaces, which are not served; "
                    + "remedy: CAP_SYS_PTRACE, or processes=no")
        }
        if result.leftOut > 0 {
            problems.append(
                "more than \(NamespaceCensus.limit) network namespaces exist, and the others are not served; "
                    + "remedy: names= those that need it")
        }
        for problem in problems where !censusProblems.contains(problem) { log.warning(problem, .namespaceNotServed) }
        censusProblems = problems
    }

    private func enter(_ identity: NamespaceIdentity, _ place: NamespaceCensus.Place) {
        do {
            try open(identity, place)
            namespaceProblems[identity] = nil
        } catch {
            let problem = error.description
            guard namespaceProblems.updateValue(problem, forKey: identity) != problem else { return }
            log.error("namespace \(Self.text(place.name)) is not served: \(problem)", .namespaceNotServed)
        }
    }

    private func open(_ identity: NamespaceIdentity, _ place: NamespaceCensus.Place) throws(UpcallError) {
        var opened = Result<[any Upcall], UpcallError>.success([])
        do throws(SystemError) {
            if place.name == nil {
                opened = opening(identity, isHome: true)
            } else {
                opened = try namespaces.namespace.visit(place.path, identity) {
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
        for upcall in upcalls { bequeath(upcall, identity) }
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
            disinherit(way.upcall, identity)
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
                try loop.watch(descriptor, isUrgent: true) { [unowned self] _ in
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
        let guess = ProcessTable.namesake(ofNetlinkPort: rival.port)
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
}
