internal import Broker
internal import Keyrings
internal import Settings
internal import System
internal import Unconfined

/// Checks that the keyrings in the settings exist, and that the PSK file is usable.
struct KeysCheck {
    private(set) var findings: [Finding] = []

    init(_ settings: DaemonSettings) {
        checkKeyrings(settings)
        if let psk = settings.psk { checkFile(psk) }
    }

    private mutating func add(_ severity: Finding.Severity, _ text: String, remedy: String? = nil) {
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
                ThisProcess.user == 0 ? .failure : .unknown, "keyring \(problem)",
                remedy: ThisProcess.user == 0 ? nil : "run this as root")
        }
        for keyring in view.keyrings {
            let count = keyring.keys.count { $0.type == "psk" }
            add(.good, "keyring \(keyring.name) is there, with \(count) PSKs")
        }
        for name in view.missing {
            if name == ".nvme" {
                add(
                    .notice,
                    "there is no keyring .nvme: the module nvme_keyring, which comes with NVMe/TCP, is not loaded")
            } else if name == ".nfs" || name == ".nfsd" {
                continue
            } else {
                add(
                    .failure, "the settings name a keyring \(name), and there is none that this user may see",
                    remedy: "make it, or remove it from the settings")
            }
        }
    }

    private mutating func checkFile(_ psk: PSKSettings) {
        let path = psk.file.value
        do {
            let file = try SealedFile(copying: path)
            let identity = file.identity
            if identity.owner != 0 || identity.isOpenToOthers {
                add(
                    .failure, "\(path) contains keys and is accessible to users other than root, so it is not read",
                    remedy: "chown root \(path) && chmod 600 \(path)")
            }
            let entries = try SealedContents(of: file.descriptor).withSpan { span in
                try PSKFile.parse(span, file: path)
            }
            add(.good, "\(path) holds \(entries.count) PSKs for keyring \(psk.keyring.value)")
        } catch let error as SettingsError {
            add(.failure, error.description)
        } catch let error as SystemError {
            let isDenied = error.isDenied
            add(
                isDenied ? .unknown : .failure, "\(psk.file.origin): psk.file cannot be read: \(error.description)",
                remedy: isDenied ? "run this as root" : "put the file there, or remove the line")
        } catch {
            add(.failure, "\(path): \(error)")
        }
    }
}
