internal import Handshake
internal import Settings
internal import System
internal import Upcall

extension Broker {
    /// Looks whether settings, the files that they name, or keyrings have changed, and acts on it. Cheap enough for each request: a
    /// handful of stat(2) calls and one look at /proc/keys.
    func look(force: Bool = false) {
        if configuration.refresh(force: force, log: log) {
            applyLogLevels()
            refreshSetUp()
        }
        let settings = configuration.settings
        refreshCredentials(.client, settings.client, force: force)
        refreshCredentials(.server, settings.server, force: force)
        for line in keys.refresh(settings: settings, force: force) {
            line.isError ? log.error(line.text) : log.info(line.text)
        }
    }

    /// Brings our own log and libnl's to what the settings say; workers are told by `refreshSetUp`.
    func applyLogLevels() {
        log.level = configuration.logLevel
        NetlinkUpcall.setDebugLevel(configuration.settings.debug.netlink.value)
    }

    private func refreshCredentials(_ role: Role, _ settings: RoleSettings, force: Bool) {
        guard let change = credentials[role]?.refresh(settings: settings, force: force) else { return }
        for error in change.errors { log.error(error) }
        for notice in change.notices { log.notice(notice) }
        if let set = change.send { distribute(set) }
    }
}
