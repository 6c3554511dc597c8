internal import Glibc

/// The directory of settings and credentials: in memory, created once per process. The broker's files are symbolic
/// links to one of several files, so that a change is one rename(2).
final class Fixtures {
    let folder: String
    private var current: [String: String] = [:]
    private var names: [String] = []

    static let settings = ["settings-0", "settings-1", "settings-2", "settings-3", isolating, "settings-broken"]
    /// Settings with which each handshake has a worker of its own.
    static let isolating = "settings-4"
    static let certificates = ["certificate-0", "certificate-1", "none"]

    init() {
        var template = Array("/dev/shm/tlshd-simulation.XXXXXX".utf8CString)
        guard let made = unsafe mkdtemp(&template) else { fatalError("mkdtemp: errno \(errno)") }
        folder = unsafe String(cString: made)
        let store = "x509.truststore=\(folder)/store\n"
        let own = store + "x509.certificate=\(folder)/certificate\nx509.private_key=\(folder)/key\n"
        let common =
            "[control]\nsocket=none\n[listener]\nkey_update_lifetime=30\n[authenticate.server]\n\(own)"
        write("settings-0", common + "[authenticate.client]\n\(store)")
        write(
            "settings-1",
            common
                + "[authenticate.client]\n\(own)[namespaces]\nnamed=yes\ndefault_profile=yes\n[workers]\nhandshakes=2\n"
        )
        write(
            "settings-2",
            common
                + "[authenticate.client]\n\(store)[namespaces]\nnamed=yes\n[limits]\nhandshakes_per_peer=2\nhandshakes=6\n"
                + "[debug]\nloglevel=1\n[profile others]\nmatch.namespace=*\nisolation=profile\n\(store)")
        let token = "pkcs11:token=made-up;object=key;type=private"
        write(
            "settings-3",
            common
                + "[authenticate.client]\n\(store)x509.certificate=\(folder)/certificate\nx509.private_key=\(token)\n")
        write(Self.isolating, common + "[authenticate.client]\n\(own)[workers]\nisolation=handshake\n")
        write("settings-broken", "[limits]\nhandshakes=many\n")
        func pem(_ label: String) -> String { "-----BEGIN \(label)-----\nMAMCAQA=\n-----END \(label)-----\n" }
        write("store", pem("CERTIFICATE"))
        for number in 0...1 { write("certificate-\(number)", pem("CERTIFICATE") + String(number) + "\n") }
        write("key", pem("PRIVATE KEY"))
        use("settings-0", as: "settings")
        use("certificate-0", as: "certificate")
    }

    deinit {
        for name in names + Array(current.keys) { _ = unsafe unlink("\(folder)/\(name)") }
        _ = unsafe rmdir(folder)
    }

    var settings: String { "\(folder)/settings" }

    /// Makes the name a link to another file, which need not exist.
    func use(_ target: String, as name: String) {
        guard current.updateValue(target, forKey: name) != target else { return }
        let next = "\(folder)/next"
        guard unsafe symlink("\(folder)/\(target)", next) == 0, unsafe rename(next, "\(folder)/\(name)") == 0 else {
            fatalError("\(name) cannot be changed: errno \(errno)")
        }
    }

    private func write(_ name: String, _ text: String) {
        names.append(name)
        let file = unsafe open("\(folder)/\(name)", O_CREAT | O_WRONLY | O_CLOEXEC, 0o600)
        let bytes = Array(text.utf8)
        guard file >= 0, unsafe Glibc.write(file, bytes, bytes.count) == bytes.count else {
            fatalError("\(name) cannot be written: errno \(errno)")
        }
        close(file)
    }
}
