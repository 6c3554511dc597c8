package import Handshake

/// Everything that a configuration file can say, with the defaults for what it does not say.
package struct DaemonSettings: Equatable, Sendable {
    package var debug = DebugSettings()
    package var limits = AdmissionLimits()
    /// How many bytes a peer may send before its handshake is done.
    package var handshakeBytes = Located(HandshakeBytes.standard, origin: .builtIn)
    /// Keyrings to link besides the standard ones, each once, in the order of the file.
    package var keyrings: [Located<KeyringReference>] = []
    package var client = RoleSettings()
    package var server = RoleSettings()
    package var namespaces = NamespaceSettings()
    /// In the order of the file, in which they are tried.
    package var profiles: [ProfileSettings] = []
    /// Nil when no file of PSKs is named.
    package var psk: PSKSettings?
    package var listener = ListenerSettings()
    package var control = ControlSettings()
    package var metrics = MetricsSettings()
    /// Every known setting as it is in force, with the place that decided it; empty for what is built in.
    package var effective: [EffectiveSetting] = []
    /// What an administrator should read about the files, in the order of their lines.
    package var notices: [SettingsNotice] = []

    /// What is in force without any file.
    package init() {}
}

/// `[listener]`: the numbers of AF_TLSH, for kernels that offer it under others.
package struct ListenerSettings: Equatable, Sendable {
    /// `family`: the address family.
    package var family = Located(46, origin: .builtIn)
    /// `level`: the option level, SOL_TLSH.
    package var level = Located(287, origin: .builtIn)
    /// `key_update_lifetime`: seconds for which the secrets of a connection are kept for key updates; 0 for not at all.
    package var keyUpdateLifetime = Located(0, origin: .builtIn)

    package init() {}
}

/// `[debug]`: how much the daemon and its libraries tell.
package struct DebugSettings: Equatable, Sendable {
    /// `loglevel`; 0 is one line per handshake and what needs attention.
    package var logLevel = Located(0, origin: .builtIn)
    /// `tls`: GnuTLS' own log level.
    package var tls = Located(0, origin: .builtIn)
    /// `nl`: libnl's own debug level.
    package var netlink = Located(0, origin: .builtIn)
    /// `delay_done`: how long an answer to the kernel is held back, in seconds; for testing the kernel only.
    package var delayDone = Located(Duration.zero, origin: .builtIn)
    /// `ktls_utils_lines`: the result lines of ktls-utils beside ours; nil for none.
    package var historicLines = Located<HistoricLine?>(nil, origin: .builtIn)

    package init() {}
}

/// `psk.file` and `psk.keyring`: PSKs that the daemon adds to a keyring itself, so that they survive a reboot.
package struct PSKSettings: Equatable, Sendable {
    /// A file as GnuTLS' psktool writes it; `PSKFile.parse` reads it.
    package var file: Located<String>
    /// The keyring that the keys go to, when it exists.
    package var keyring: Located<KeyringReference>

    package init(file: Located<String>, keyring: Located<KeyringReference>) {
        self.file = file
        self.keyring = keyring
    }

    package static let defaultKeyring = Located(KeyringReference.name(".nvme"), origin: .builtIn)
}
