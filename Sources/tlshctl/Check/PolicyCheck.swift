internal import FoundationEssentials
internal import Handshake
internal import Inspect
internal import TLS
internal import TLSWire
internal import X509

/// Checks the suites and groups in effect, and reports the source of the policy.
struct PolicyCheck {
    private(set) var findings: [Finding] = []

    init(_ kernel: KernelTLSCapabilities) {
        do throws(GnuTLSError) {
            report(try PolicyReport(kernel), kernel)
        } catch {
            add(
                .failed,
                "nothing can be negotiated: the crypto policy is unusable, or leaves nothing that the "
                    + "kernel's TLS supports: \(error.description)",
                remedy: "fix \(Self.source("")) or load the ciphers' modules")
        }
    }

    private mutating func add(_ severity: Status, _ text: String, remedy: String? = nil) {
        findings.append(Finding(.policy, severity, text, remedy: remedy))
    }

    private mutating func report(_ policy: PolicyReport, _ kernel: KernelTLSCapabilities) {
        let source = Self.source(policy.policyFile)
        add(.ok, "GnuTLS \(policy.library), policy by \(source)\(policy.isFIPS ? ", FIPS 140 mode" : "")")
        let knowsKernel = !kernel.ciphers.isEmpty
        let condition = knowsKernel ? "" : ", if the kernel had TLS"
        add(.ok, "suites\(condition): \(policy.suites.joined(separator: ", "))")
        add(.ok, "groups: \(policy.groups.joined(separator: ", "))")
        reportFiniteFields(policy)
        if !policy.forbidden.isEmpty {
            add(.note, "not used, because \(source) forbids it: \(policy.forbidden.joined(separator: ", "))")
        }
        if !policy.lackingInKernel.isEmpty, knowsKernel {
            let names = policy.lackingInKernel.joined(separator: ", ")
            add(.note, "not used, because the kernel's TLS does not support it: \(names)")
        }
        for hash in PSKHash.allCases where !policy.keyHashes.contains(hash) {
            let why = hash == .sha384 && !GnuTLS.bindsSHA384 ? "needs GnuTLS 3.8.11" : "no suite is left for it"
            add(.note, "PSKs with \(hash == .sha384 ? "SHA-384" : "SHA-256") cannot be used: \(why)")
        }
    }

    /// Cost of finite field groups; measured in docs/benchmarks.md.
    static let finiteFieldCost =
        "any unauthenticated peer can make a server compute with it, which takes 7 ms (FFDHE2048) to 0.3 s (FFDHE8192)"

    private mutating func reportFiniteFields(_ policy: PolicyReport) {
        let used = policy.groups.filter(Priorities.isFiniteField)
        if !used.isEmpty {
            add(
                .warning,
                "the crypto policy leaves no groups but \(used.joined(separator: ", ")): \(Self.finiteFieldCost)",
                remedy: "allow an elliptic curve, such as X25519 or SECP256R1, in the crypto policy")
        }
        if !policy.unusedGroups.isEmpty {
            add(
                .ok,
                "groups that are used only where tls.groups names them, as they cost too much: "
                    + policy.unusedGroups.joined(separator: ", "))
        }
    }

    /// Source of the policy: an environment variable, the file of the system's crypto policies, or GnuTLS itself.
    static func source(_ file: String) -> String {
        if let named = ProcessInfo.processInfo.environment["GNUTLS_SYSTEM_PRIORITY_FILE"], !named.isEmpty {
            return "\(named) (GNUTLS_SYSTEM_PRIORITY_FILE)"
        }
        guard !file.isEmpty, FileManager.default.fileExists(atPath: file) else { return "the library's defaults" }
        let state = try? String(contentsOfFile: "/etc/crypto-policies/state/current", encoding: .utf8)
        let name = state?.split(whereSeparator: \.isNewline).first.map { " (crypto policy \($0))" } ?? ""
        return file + name
    }
}
