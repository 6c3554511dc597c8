internal import Handshake
internal import Settings
internal import System
internal import Upcall
internal import Wire

extension Broker {
    /// Looks whether settings, the files that they name, or keyrings have changed, and acts on it. Cheap enough for
    /// each request: a handful of stat(2) calls and one look at /proc/keys.
    func look(force: Bool = false) {
        refreshSettings(force: force)
        for line in exposure.refresh(
            files: configuration.files + tags.files, folders: configuration.folders + [tags.folder])
        {
            log.warning(line)
        }
        refreshControl(force: force)
        for owner in credentials.keys.sorted() { refreshCredentials(owner, force: force) }
        refreshKeys(force: force)
        if tags.refresh(force: force, log: log) {
            for id in workers.keys {
                attempt(id) { worker throws(WorkerFault) in try worker.send(.tags(self.tags.tags)) }
            }
        }
    }

    /// Takes changed settings, and sees to it that there is a state for every profile's credentials.
    func refreshSettings(force: Bool = false) {
        if configuration.refresh(force: force, log: log) {
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

    func refreshKeys(force: Bool = false) {
        for line in keys.refresh(settings: configuration.settings, force: force) {
            line.isError ? log.error(line.text, .keysRefused) : log.info(line.text)
        }
    }

    /// Brings our own log and libnl's to what the settings say; workers are told by `refreshSetUp`.
    func applyLogLevels() {
        log.level = configuration.logLevel
        NetlinkUpcall.setDebugLevel(configuration.settings.debug.netlink.value)
    }

    /// Reads one set of credentials again if its files have changed.
    func refreshCredentials(_ owner: CredentialsOwner, force: Bool = false) {
        guard let settings = roleSettings[owner],
            let change = credentials[owner]?.refresh(settings: settings, force: force)
        else { return }
        for error in change.errors { log.error(error, .credentialsRefused) }
        for notice in change.notices { log.notice(notice) }
        release(change.replaced)
        if let set = change.send { present(set) }
    }
}
