/// A key that the daemon knows: its section, its name, and the names it had in earlier layouts of the file, which
/// count when the key itself is absent (`[main]` until ktls-utils 0.9, `[authentication]` in 0.10).
struct SettingKey: Equatable, Sendable {
    struct Name: Equatable, Sendable, CustomStringConvertible {
        let section: String
        let key: String

        var description: String { "[\(section)] \(key)" }
    }

    let name: Name
    let former: [Name]

    init(_ section: String, _ key: String, former: [Name] = []) {
        name = Name(section: section, key: key)
        self.former = former
    }

    static let logLevel = SettingKey("debug", "loglevel", former: [.init(section: "main", key: "debug")])
    static let tls = SettingKey("debug", "tls", former: [.init(section: "main", key: "tlsdebug")])
    static let netlink = SettingKey("debug", "nl", former: [.init(section: "main", key: "nl_debug")])
    static let delayDone = SettingKey("debug", "delay_done", former: [.init(section: "main", key: "delay_done")])
    static let handshakes = SettingKey("limits", "handshakes")
    static let handshakesPerNamespace = SettingKey("limits", "handshakes_per_namespace")
    static let handshakesPerPeer = SettingKey("limits", "handshakes_per_peer")
    static let keyrings = SettingKey(
        "authenticate", "keyrings",
        former: [.init(section: "authentication", key: "keyrings"), .init(section: "main", key: "keyrings")])
    static let pskFile = SettingKey("authenticate", "psk.file")
    static let pskKeyring = SettingKey("authenticate", "psk.keyring")

    /// The keys that client and server have alike.
    struct Role: Sendable {
        let section: String

        static let client = Role(section: "authenticate.client")
        static let server = Role(section: "authenticate.server")

        var trustStore: SettingKey { SettingKey(section, "x509.truststore") }
        var crl: SettingKey { SettingKey(section, "x509.crl") }
        var certificate: SettingKey { SettingKey(section, "x509.certificate") }
        var privateKey: SettingKey { SettingKey(section, "x509.private_key") }
        var pqCertificate: SettingKey { SettingKey(section, "x509.pq.certificate") }
        var pqPrivateKey: SettingKey { SettingKey(section, "x509.pq.private_key") }

        var all: [SettingKey] { [trustStore, crl, certificate, privateKey, pqCertificate, pqPrivateKey] }
    }

    static let all: [SettingKey] =
        [
            logLevel, tls, netlink, delayDone, handshakes, handshakesPerNamespace, handshakesPerPeer, keyrings, pskFile,
            pskKeyring,
        ] + Role.client.all + Role.server.all
}
