internal import Handshake
internal import Settings
internal import System
internal import Upcall
internal import Wire

extension Broker {
    /// Looks whether settings, the files that they name, or keyrings have changed, and acts on it. Cheap enough for
    /// each request: a handful of stat(2) calls and one look at /proc/keys.
    ///
    /// Files that do not answer delay it by a moment all together, and once: the next look does not wait for them.
    func look(force: Bool = false) {
        let deadline = Clock.monotonicNanoseconds() + FilePatience.moment
        var patience: UInt64 { deadline - min(deadline, Clock.monotonicNanoseconds()) }
        refreshSettings(force: force, patience: patience)
        let files = configuration.paths + tags.paths, folders = configuration.folders + [tags.folder]
        for line in exposure.refresh(files: files, folders: folders, patience: patience) { log.warning(line) }
        refreshControl(force: force)
        for owner in credentials.keys.sorted() { refreshCredentials(owner, force: force, patience: patience) }
        refreshKeys(force: force, patience: patience)
        if tags.refresh(force: force, patience: patience, log: log) {
            for id in workers.keys {
                attempt(id) { worker throws(WorkerFault) in try worker.send(.tags(self.tags.tags)) }
            }
        }
    }

    /// When files and keyrings are looked at again if no request does it: once a second, and sooner while something has
    /// not answered for less than that.
    func nextLook(after now: UInt64) -> UInt64 {
        let ages =
            [configuration.files.age(now), tags.files.age(now), keys.age(now)]
            + credentials.values.map { $0.files.age(now) }
        let youngest = ages.compactMap(\.self).min() ?? Self.lookInterval
        return now + max(Self.shortestInterval, min(youngest, Self.lookInterval))
    }

    private static let lookInterval: UInt64 = 1_000_000_000
    private static let shortestInterval: UInt64 = 20_000_000

    /// Takes changed settings, and sees to it that there is a state for every profile's credentials.
    func refreshSettings(force: Bool = false, patience: UInt64 = FilePatience.moment) {
        if configuration.refresh(force: force, patience: patience, log: log) {
            applyLogLevels()
            refreshSetUp()
        } else if !credentials.isEmpty {
            return
        }
        for profile in profiles.update(configuration.settings) { withdraw(profile) }
        roleSettings = [:]
        for entry in profiles.entries {
            for (role, settings) in entry.credentials {
                let owner = CredentialsOwner(entry.number, role)
                roleSettings[owner] = settings
                if credentials[owner] == nil { credentials[owner] = RoleCredentialState(owner, profile: entry.name) }
            }
        }
    }

    func refreshKeys(force: Bool = false, patience: UInt64 = FilePatience.moment) {
        for line in keys.refresh(settings: configuration.settings, force: force, patience: patience) {
            line.isError ? log.error(line.text, .keysRefused) : log.info(line.text)
        }
    }

    /// Brings our own log and libnl's to what the settings say; workers are told by `refreshSetUp`.
    func applyLogLevels() {
        log.level = configuration.logLevel
        NetlinkUpcall.setDebugLevel(configuration.settings.debug.netlink.value)
    }

    /// Reads one set of credentials again if its files have changed.
    func refreshCredentials(
        _ owner: CredentialsOwner, force: Bool = false, patience: UInt64 = FilePatience.moment
    ) {
        guard let settings = roleSettings[owner],
            let change = credentials[owner]?.refresh(settings: settings, force: force, patience: patience)
        else { return }
        for error in change.errors { log.error(error, .credentialsRefused) }
        for notice in change.notices { log.notice(notice) }
        release(change.replaced)
        if let set = change.send { present(set) }
    }
}
