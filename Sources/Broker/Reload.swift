internal import Handshake
internal import Policy
internal import Settings
internal import System
internal import Unconfined
internal import Upcall
internal import Wire

/// Detects changes of settings, of the files that they name, and of keyrings, and applies them. Checks once a second,
/// and for a request if the last check is older than 50 ms.
final class Reload {
    private(set) var profiles = ProfileTable()
    private var exposure: SettingsExposure
    private var nextLook: UInt64 = 0
    /// Time of the last check for a request, by subject.
    private var lookedAt: [Subject: UInt64] = [:]
    /// Age up to which a check is not repeated, in nanoseconds. A check for each request would be a fifth of its system
    /// calls.
    var freshness: UInt64 = 50_000_000

    /// Time that a check waits for all files that do not answer, in nanoseconds.
    var patience = FilePatience.moment

    private unowned let broker: Broker
    private var log: DaemonLog { broker.log }

    /// Subject of a check for a request.
    private enum Subject: Hashable {
        case settings
        case keyrings
        case files(of: CredentialsOwner)
    }

    private static let lookInterval: UInt64 = 1_000_000_000
    private static let shortestInterval: UInt64 = 20_000_000

    init(_ broker: Broker) {
        self.broker = broker
        exposure = SettingsExposure(broker.surroundings.files)
    }

    func addSchedules(to loop: EventLoop) {
        loop.schedule({ [unowned self] in nextLook }) { [unowned self] now in
            look()
            nextLook = nextLook(after: now)
            broker.runPeriodicWork(now)
        }
    }

    /// Checks everything. That costs a few stat(2) calls and one read of /proc/keys, little enough for once a second.
    /// Files that do not answer delay only the first check, by `patience` in total; later checks do not wait for them.
    func look(force: Bool = false) {
        let deadline = broker.loop.now + self.patience
        var patience: UInt64 { deadline - min(deadline, broker.loop.now) }
        refreshSettings(force: force, patience: patience)
        let configuration = broker.configuration
        let files = configuration.paths + broker.tags.paths, folders = configuration.folders + [broker.tags.folder]
        for line in exposure.refresh(files: files, folders: folders, patience: patience) { log.warning(line) }
        broker.control.refresh(force: force)
        broker.credentials.refreshAll(force: force) { patience }
        refreshKeys(force: force, patience: patience)
        if broker.tags.refresh(force: force, patience: patience, log: log) {
            broker.pool.sendAll(.tags(broker.tags.tags))
        }
    }

    /// Time of the next check without a request: in a second, or earlier while a file has not answered for less than
    /// that.
    func nextLook(after now: UInt64) -> UInt64 {
        let ages =
            [broker.configuration.files.age(now), broker.tags.files.age(now), broker.keys.age(now)]
            + broker.credentials.all.map { $0.files.age(now) }
        let youngest = ages.compactMap(\.self).min() ?? Self.lookInterval
        return now + max(Self.shortestInterval, min(youngest, Self.lookInterval))
    }

    /// Applies changed settings and updates the credential states of all profiles.
    func refreshSettings(force: Bool = false, patience: UInt64 = FilePatience.moment) {
        if broker.configuration.refresh(force: force, patience: patience, log: log) {
            applyLogLevels()
            broker.pool.refreshSetUp()
        } else if !broker.credentials.isEmpty {
            return
        }
        let gone = profiles.update(broker.configuration.settings)
        broker.credentials.adopt(profiles, gone: gone)
        broker.pool.noteProfiles()
    }

    func refreshKeys(force: Bool = false, patience: UInt64 = FilePatience.moment) {
        let settings = broker.configuration.settings
        for line in broker.keys.refresh(settings: settings, force: force, patience: patience) {
            line.isError ? log.error(line.text, .keysRefused) : log.info(line.text)
        }
    }

    /// Applies the log levels of the settings to our log and libnl's.
    func applyLogLevels() {
        log.level = broker.configuration.logLevel
        NetlinkUpcall.setDebugLevel(broker.configuration.settings.debug.netlink.value)
    }

    // MARK: For a request

    /// Checks what may have changed for this request, and chooses its profile.
    func chooseProfile(for handshake: Handshake) throws(HandshakeFailure) -> ProfileTable.Choice {
        lookIfDue(.settings) { refreshSettings() }
        let request = handshake.request
        let subject = ProfileSubject(
            request, peerAddress: handshake.accepted.peerAddress, localPort: handshake.accepted.localPort)
        guard let choice = profiles.choose(for: subject) else {
            throw HandshakeFailure(
                .noProfile, "namespace \(request.namespace?.description ?? "that tlshd was started in")")
        }
        let owner = CredentialsOwner(choice.number, request.role)
        switch request.authentication {
        case .unauthenticated, .x509: lookIfDue(.files(of: owner)) { broker.credentials.refresh(owner) }
        case .preSharedKey: refreshKeysIfDue()
        }
        return choice
    }

    /// Checks the keyrings, at most twenty times a second.
    ///
    /// - Returns: `true` if it did.
    @discardableResult
    func refreshKeysIfDue() -> Bool { lookIfDue(.keyrings) { refreshKeys() } }

    /// Checks files or keyrings for a request, at most twenty times a second. The interval begins when the check ends,
    /// because files may answer late.
    ///
    /// - Returns: `true` if it did.
    @discardableResult
    private func lookIfDue(_ subject: Subject, _ look: () -> Void) -> Bool {
        guard broker.loop.now - lookedAt[subject, default: 0] >= freshness else { return false }
        look()
        lookedAt[subject] = broker.loop.now
        return true
    }

    // MARK: For reports

    /// Remarks on the settings and their files.
    var warnings: [String] { exposure.lines + broker.configuration.complaints }
}
