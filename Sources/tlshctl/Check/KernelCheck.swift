internal import FoundationEssentials
internal import Handshake
internal import System
internal import TLS
internal import Unconfined
internal import Upcall

/// Checks the capabilities of this kernel by trying them, and the modules and options that they depend on.
struct KernelCheck {
    /// Capabilities of kernel TLS; without ciphers if it is missing or cannot be probed.
    private(set) var capabilities = KernelTLSCapabilities(ciphers: [], limitsTransmitPayload: false)
    private(set) var findings: [Finding] = []
    private let modules = KernelModules()

    init() {
        checkFamily()
        checkTLS()
        checkConsumers()
    }

    private mutating func add(_ severity: Status, _ text: String, remedy: String? = nil) {
        findings.append(Finding(.kernel, severity, text, remedy: remedy))
    }

    private mutating func checkFamily() {
        do throws(UpcallError) {
            _ = try ListenerScan.netlink()
            add(.ok, "Linux \(Kernel.release()) hands TLS handshakes to user space (netlink family handshake)")
        } catch {
            switch error {
            case .familyMissing: add(.failed, error.description)
            // The family exists. Problems with listeners are reported by ListenerCheck.
            case .listenerMissing, .listenerTaken, .consumerGone, .system, .rejected, .malformed, .noReply:
                add(.ok, "Linux \(Kernel.release()) has the netlink family handshake")
            }
        }
    }

    private mutating func checkTLS() {
        let probe: KernelTLSProbe
        do throws(SystemError) {
            probe = try KernelTLSProbe.run()
        } catch {
            add(.unknown, "the kernel's TLS cannot be tried out: \(error.description)")
            return
        }
        capabilities = probe.capabilities
        guard !capabilities.ciphers.isEmpty else {
            let problem = probe.problems.joined(separator: "; ")
            // tlshd loads the module. A user who may not load it cannot find out more.
            if ThisProcess.user != 0, modules.state(of: "tls") == .available {
                add(.unknown, "the module tls is not loaded, and only root can load it", remedy: "run this as root")
            } else {
                add(.failed, problem, remedy: "modprobe tls, or a kernel with CONFIG_TLS")
            }
            return
        }
        let carried = KernelCipher.allCases.filter(capabilities.ciphers.contains).map(\.suite)
        add(.ok, "the kernel's TLS supports \(carried.joined(separator: ", "))")
        let lacksMain = !capabilities.ciphers.contains(.aes128GCM) || !capabilities.ciphers.contains(.aes256GCM)
        for problem in probe.problems { add(lacksMain ? .warning : .note, problem) }
        if !capabilities.limitsTransmitPayload {
            add(.note, "peers that limit the size of records cannot be served (TLS_TX_MAX_PAYLOAD_LEN, Linux 6.19)")
        }
    }

    /// A kernel consumer of handshakes and its requirements.
    private struct Consumer {
        let name: String
        let module: String
        let option: String?
    }

    private static let consumers = [
        Consumer(name: "NFS client", module: "nfs", option: nil),
        Consumer(name: "NFS server", module: "nfsd", option: nil),
        Consumer(name: "NVMe/TCP host", module: "nvme_tcp", option: "CONFIG_NVME_TCP_TLS"),
        Consumer(name: "NVMe/TCP target", module: "nvmet_tcp", option: "CONFIG_NVME_TARGET_TCP_TLS"),
    ]

    private mutating func checkConsumers() {
        let options = KernelOptions()
        for consumer in Self.consumers {
            let state = modules.state(of: consumer.module)
            let hasTLS = consumer.option.map { options.isSet($0) != false } ?? true
            switch state {
            case .missing: add(.note, "\(consumer.name): this kernel has no module \(consumer.module)")
            case .loaded, .available:
                if hasTLS {
                    let place = state == .loaded ? "is there" : "is there to be loaded"
                    add(.ok, "\(consumer.name): the module \(consumer.module) \(place)")
                } else if let option = consumer.option {
                    add(.note, "\(consumer.name): the kernel was built without TLS for it (\(option))")
                }
            }
        }
    }
}

/// Modules of this kernel.
struct KernelModules {
    enum State: Sendable, Equatable {
        case loaded
        case available
        case missing
    }

    private let lists: [String]

    init() {
        let folder = "/lib/modules/\(Kernel.release())"
        lists = ["modules.dep", "modules.builtin"].map { name in
            (try? String(contentsOfFile: "\(folder)/\(name)", encoding: .utf8)) ?? ""
        }
    }

    /// - Parameter module: the name with underscores, as in /sys/module.
    func state(of module: String) -> State {
        if FileManager.default.fileExists(atPath: "/sys/module/\(module)") { return .loaded }
        let dashed = module.replacing("_", with: "-")
        let isListed = lists.contains { list in list.contains("/\(module).ko") || list.contains("/\(dashed).ko") }
        return isListed ? .available : .missing
    }
}

/// Build options of this kernel, if a file with them exists.
struct KernelOptions {
    private let lines: Set<Substring>

    init() {
        let release = Kernel.release()
        let plain = ["/boot/config-\(release)", "/lib/modules/\(release)/config"]
        let text = plain.lazy.compactMap { try? String(contentsOfFile: $0, encoding: .utf8) }.first
        lines = Set((text ?? "").split(separator: "\n"))
    }

    /// `nil` if no file with the options exists.
    func isSet(_ option: String) -> Bool? {
        guard !lines.isEmpty else { return nil }
        return lines.contains("\(option)=y") || lines.contains("\(option)=m")
    }
}
