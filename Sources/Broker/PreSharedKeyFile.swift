internal import Handshake
internal import Keyrings
internal import Settings
internal import System
internal import Unconfined
internal import Wire

/// Adds the keys of `psk.file` to their keyring when it appears, and removes those whose line was removed. So they are
/// restored after a reboot or the reload of a module. An unchanged key keeps its serial, which the kernel uses while it
/// sets up a queue.
struct PreSharedKeyFile {
    private var settings: PSKSettings?
    private var seen: FileIdentity?
    /// Descriptions of the keys that were added to `keyring`.
    private var wanted: [String] = []
    private var keyring = ""
    var files: FileWatch<PSKSettings, Reading?>
    /// Reason why keys are missing, so that it is logged once; empty if there is none or the keyring does not exist.
    private var refusal = ""
    private static let consequence = "the keys that were there stay"

    /// Contents of a changed file.
    struct Reading: Sendable {
        fileprivate let identity: FileIdentity?
        fileprivate let copy: Result<SealedCopy, SystemError>

        fileprivate init(_ path: String, _ identity: FileIdentity?) {
            self.identity = identity
            copy = Result { () throws(SystemError) in
                let file = try SealedFile(copying: path)
                guard file.identity.owner == 0, !file.identity.isOpenToOthers else {
                    throw SystemError(
                        "open", .success,
                        "\(path): it holds keys, and users other than root own it or may use it; remedy: chown root \(path) && "
                            + "chmod 600 \(path)")
                }
                return SealedCopy(file.takeDescriptor())
            }
        }
    }

    init(_ threads: FileThreads = FileThreads()) { files = FileWatch(threads) }

    /// Reason why keys are missing or may be outdated; empty if there is none.
    var problem: String { files.problem.isEmpty ? refusal : "\(files.problem); \(Self.consequence)" }

    /// Time for which the file has not answered, in nanoseconds.
    func age(_ now: UInt64) -> UInt64? { files.age(now) }

    /// Unlinks our keys from the previous keyring. Must run before that keyring itself is released.
    mutating func leave(for settings: PSKSettings?, keyrings: inout KeyringSet) -> [KeyStore.Line] {
        guard settings?.keyring.value.description != keyring else { return [] }
        defer { wanted = [] }
        return withdraw(wanted, from: &keyrings)
    }

    /// Updates the keyring if the file has changed or the keyring has appeared.
    mutating func refresh(
        settings: PSKSettings?, keyrings: inout KeyringSet, type: String, force: Bool, patience: UInt64
    ) -> [KeyStore.Line] {
        guard let settings else {
            self = PreSharedKeyFile(files.threads)
            return []
        }
        let isIncomplete =
            settings != self.settings
            || keyrings.serial(of: settings.keyring.value.description) != nil
                && !wanted.allSatisfy { keyrings.holds($0, in: keyring) }
        let seen = seen, path = settings.file.value
        let answer = files.look(at: settings, force: force, patience: patience) { force, progress -> Reading? in
            progress.at(path)
            let identity = try? FileIdentity(ofPath: path)
            return force || isIncomplete || identity != seen ? Reading(path, identity) : nil
        }
        let lines = [files.takeNews(Self.consequence)].compactMap(\.self)
            .map { KeyStore.Line(text: $0.text, isError: $0.isError) }
        guard let reading = answer.flatMap({ $0 }) else { return lines }
        self.settings = settings
        self.seen = reading.identity
        do {
            return lines + (try update(settings, reading.copy, keyrings: &keyrings, type))
        } catch {
            return lines + once("\(error); \(Self.consequence)")
        }
    }

    private mutating func update(
        _ settings: PSKSettings, _ copy: Result<SealedCopy, SystemError>, keyrings: inout KeyringSet, _ type: String
    ) throws -> [KeyStore.Line] {
        let path = settings.file.value
        let target = settings.keyring.value.description
        let contents = try SealedContents(of: copy.get().descriptor)
        let entries = try contents.withSpan { span in try PSKFile.parse(span, file: path) }
        var lines: [KeyStore.Line] = []
        let descriptions = try entries.map(Self.description)
        lines += withdraw(wanted.filter { !descriptions.contains($0) }, from: &keyrings)
        wanted = descriptions
        keyring = target
        guard keyrings.serial(of: target) != nil else {
            refusal = ""
            return lines
        }
        var inserted = 0
        for (entry, description) in zip(entries, descriptions) {
            try Self.insert(entry, description, of: contents, into: target, of: &keyrings, type)
            inserted += 1
        }
        lines.append(
            KeyStore.Line(
                text: "\(inserted.counted("PSK")) of \(path) \(inserted == 1 ? "is" : "are") in keyring \(target)",
                isError: false))
        refusal = ""
        return lines
    }

    private static func insert(
        _ entry: PSKFileEntry, _ description: String, of contents: borrowing SealedContents, into keyring: String,
        of keyrings: inout KeyringSet, _ type: String
    ) throws {
        var key = try SecretBuffer(capacity: entry.keyLength)
        try contents.withSpan { span in
            try key.withMutableSpan { target in try entry.decodeKey(from: span, into: &target) }
        }
        _ = try TextError.of(
            "\(entry.file):\(entry.line)",
            try keyrings.insert(description, payload: 0..<entry.keyLength, of: key, into: keyring, type: type))
    }

    /// The description of a key. The kernel's descriptions are text, so an identity must be text.
    private static func description(of entry: PSKFileEntry) throws(TextError) -> String {
        guard let text = String(validating: entry.identity, as: UTF8.self) else {
            throw TextError(
                "\(entry.file):\(entry.line): the identity is not text; remedy: write it in UTF-8")
        }
        return text
    }

    private func withdraw(_ descriptions: [String], from keyrings: inout KeyringSet) -> [KeyStore.Line] {
        var lines: [KeyStore.Line] = []
        for description in descriptions where keyrings.holds(description, in: keyring) {
            do throws(SystemError) {
                try keyrings.remove(description, from: keyring)
                lines.append(
                    KeyStore.Line(text: "PSK \"\(description)\" is removed from keyring \(keyring)", isError: false))
            } catch {
                lines.append(
                    KeyStore.Line(text: "PSK \"\(description)\" cannot be removed: \(error.description)", isError: true)
                )
            }
        }
        return lines
    }

    private mutating func once(_ problem: String) -> [KeyStore.Line] {
        guard problem != refusal else { return [] }
        refusal = problem
        return [KeyStore.Line(text: problem, isError: true)]
    }
}
