internal import Broker
internal import Handshake
internal import Keyrings
internal import Settings
internal import System
internal import TLSWire
internal import Unconfined
internal import X509

/// Checks that the keyrings in the settings exist, and that the PSK file is usable.
struct KeysCheck {
    private(set) var findings: [Finding] = []

    init(_ settings: DaemonSettings) {
        checkKeyrings(settings)
        if let psk = settings.psk { checkFile(psk) }
    }

    private mutating func add(_ severity: Status, _ text: String, remedy: String? = nil) {
        findings.append(Finding(.keys, severity, text, remedy: remedy))
    }

    private mutating func checkKeyrings(_ settings: DaemonSettings) {
        let own = settings.keyringNames + settings.profileKeyringNames
        let view: KeyringView
        do throws(SystemError) {
            view = try KeyringView(own)
        } catch {
            add(.unknown, "keyrings cannot be read: \(error.description)")
            return
        }
        for problem in view.problems {
            add(
                ThisProcess.user == 0 ? .failed : .unknown, "keyring \(problem)",
                remedy: ThisProcess.user == 0 ? nil : "run this as root")
        }
        for keyring in view.keyrings {
            let count = keyring.keys.count { $0.type == "psk" }
            add(.ok, "keyring \(keyring.name) is there, with \(count.counted("PSK"))")
            let identities = keyring.keys.filter { $0.type == "psk" }.map { Array($0.description.utf8) }
            checkIdentities(identities.map { ($0, 0) }, of: "keyring \(keyring.name)")
        }
        for name in view.missing {
            if name == ".nvme" {
                add(
                    .note,
                    "there is no keyring .nvme: the module nvme_keyring, which comes with NVMe/TCP, is not loaded")
            } else if name == ".nfs" || name == ".nfsd" {
                continue
            } else {
                add(
                    .note,
                    "the settings name a keyring \(name), and there is none that this user may see; it is used as soon as there "
                        + "is one")
            }
        }
    }

    /// Checks if PSKs can be used, and if it is clear which of them NVMe uses.
    mutating func checkIdentities(_ keys: [(identity: [UInt8], length: Int)], of place: String) {
        var pairs: [String: [String]] = [:]
        for (identity, length) in keys {
            let text = String(decoding: identity, as: UTF8.self)
            if PSKHash.of(identity: identity, keyLength: length) == .sha384, !GnuTLS.bindsSHA384 {
                add(
                    .warning,
                    "\(place): the PSK \(text) cannot be used: it needs SHA-384, for which this GnuTLS \(GnuTLS.version) is too old",
                    remedy: "use a PSK with SHA-256, or GnuTLS 3.8.11 or later")
            }
            guard let name = try? NVMeIdentity(from: identity.span) else { continue }
            pairs["host \(name.hostName) and subsystem \(name.subsystemName)", default: []].append(text)
        }
        for (pair, identities) in pairs.sorted(by: { $0.key < $1.key }) where identities.count > 1 {
            let heads = identities.map { $0.prefix { $0 != " " } }.joined(separator: ", ")
            add(
                .warning,
                "\(place) has \(identities.count) PSKs for \(pair): \(heads); the kernel decides which one a host offers",
                remedy: "remove those that are not meant")
        }
    }

    private mutating func checkFile(_ psk: PSKSettings) {
        let path = psk.file.value
        if let finding = ServiceView.current.finding(on: path, .keys) { findings.append(finding) }
        do {
            let file = try SealedFile(copying: path)
            let identity = file.identity
            if identity.owner != 0 || identity.isOpenToOthers {
                add(
                    .failed, "\(path) contains keys and is accessible to users other than root, so it is not read",
                    remedy: "chown root \(path) && chmod 600 \(path)")
            }
            let entries = try SealedContents(of: file.descriptor).withSpan { span in
                try PSKFile.parse(span, file: path)
            }
            add(.ok, "\(path) holds \(entries.count.counted("PSK")) for keyring \(psk.keyring.value)")
            checkIdentities(entries.map { ($0.identity, $0.keyLength) }, of: path)
        } catch let error as SettingsError {
            findings.append(Finding(.keys, .failed, error.parts))
        } catch let error as SystemError {
            let isDenied = error.isDenied
            add(
                isDenied ? .unknown : .failed, "\(psk.file.origin): psk.file cannot be read: \(error.description)",
                remedy: isDenied
                    ? "run this as root"
                    : error.number == .enoent
                        ? "put the file there, or remove the line" : "name another file, or remove the line"
            )
        } catch {
            add(.failed, "\(path): \(error)")
        }
    }
}
