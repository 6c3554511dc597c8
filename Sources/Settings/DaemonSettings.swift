internal import Handshake
package import Policy

/// Contents of the configuration, with defaults for everything that is not set.
package struct DaemonSettings: Equatable, Sendable {
    package var debug = DebugSettings()
    package var limits = AdmissionLimits()
    /// Limit of bytes that a peer may send before its handshake is done.
    package var handshakeBytes = Located(HandshakeBytes.standard, origin: .builtIn)
    /// Keyrings to link besides the standard ones, without duplicates, in file order.
    package var keyrings: [Located<KeyringReference>] = []
    package var client = RoleSettings()
    package var server = RoleSettings()
    package var namespaces = NamespaceSettings()
    /// In file order, which is the order of matching.
    package var profiles: [ProfileSettings] = []
    /// `nil` if no PSK file is configured.
    package var psk: PSKSettings?
    package var listener = ListenerSettings()
    package var control = ControlSettings()
    package var metrics = MetricsSettings()
    /// All known settings with the value in force and its origin. Empty for the built-in defaults.
    package var effective: [EffectiveSetting] = []
    /// Notices about the files for the administrator, in line order.
    package var notices: [SettingsNotice] = []

    /// The built-in defaults.
    package init() {}
}

/// `[listener]`: the numbers of AF_TLSH, for kernels that use others.
package struct ListenerSettings: Equatable, Sendable {
    /// `family`: the address family.
    package var family = Located(46, origin: .builtIn)
    /// `level`: the option level, SOL_TLSH.
    package var level = Located(287, origin: .builtIn)
    /// `key_update_lifetime`: seconds for which the secrets of a connection are kept for key updates; 0 disables them.
    package var keyUpdateLifetime = Located(0, origin: .builtIn)

    package init() {}
}

/// `[debug]`: verbosity of the daemon and its libraries.
package struct DebugSettings: Equatable, Sendable {
    /// `loglevel`; 0 logs one line per handshake and problems.
    package var logLevel = Located(0, origin: .builtIn)
    /// `tls`: log level of GnuTLS.
    package var tls = Located(0, origin: .builtIn)
    /// `nl`: debug level of libnl.
    package var netlink = Located(0, origin: .builtIn)
    /// `delay_done`: delay of DONE in seconds; for testing the kernel only.
    package var delayDone = Located(Duration.zero, origin: .builtIn)
    /// `ktls_utils_lines`: format of additional result lines as in ktls-utils; `nil` for none.
    package var historicLines = Located<HistoricLine?>(nil, origin: .builtIn)

    package init() {}
}

/// `psk.file` and `psk.keyring`: PSKs that the daemon adds to a keyring at start, so that they survive a reboot.
package struct PSKSettings: Equatable, Sendable {
    /// A file in the format of GnuTLS's psktool, which `PSKFile.parse` reads.
    package var file: Located<String>
    /// Keyring to which the keys are added, if it exists.
    package var keyring: Located<KeyringReference>

    package init(file: Located<String>, keyring: Located<KeyringReference>) {
        self.file = file
        self.keyring = keyring
    }

    package static let defaultKeyring = Located(KeyringReference.name(".nvme"), origin: .builtIn)
}
