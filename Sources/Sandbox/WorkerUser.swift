internal import System

/// Whom workers and the signer run as.
package struct WorkerUser: Sendable, Equatable {
    package let user: UInt32
    package let group: UInt32
    /// Whether it is the user made for this; others' processes may run as `nobody`.
    package let isOwn: Bool

    /// systemd/tlshd.sysusers makes it.
    package static let name = "tlshd"
    /// The kernel's overflow ids, `nobody` on every distribution.
    package static let nobody = WorkerUser(user: 65_534, group: 65_534, isOwn: false)

    /// The user `tlshd` of /etc/passwd, else `nobody`. The file is read as it is: name services would run their own
    /// code here, and may not be up yet.
    package static func find() -> WorkerUser {
        do throws(SystemError) {
            let file = try SealedFile(copying: "/etc/passwd")
            return try SealedContents(of: file.descriptor).withSpan { find(in: $0) } ?? nobody
        } catch {
            return nobody
        }
    }

    /// The line of passwd(5) that starts with our name, if its numbers are those of an unprivileged user.
    static func find(in passwd: Span<UInt8>) -> WorkerUser? {
        let text = String(decoding: passwd.indices.map { passwd[$0] }, as: UTF8.self)
        for line in text.split(separator: "\n") {
            let fields = line.split(separator: ":", omittingEmptySubsequences: false)
            guard fields.count >= 4, fields[0] == name else { continue }
            guard let user = UInt32(fields[2]), let group = UInt32(fields[3]), user != 0, group != 0, user != .max,
                group != .max
            else { return nil }
            return WorkerUser(user: user, group: group, isOwn: true)
        }
        return nil
    }

    /// The groups that /etc/group lists the user `tlshd` in, such as `tss` of those who may use the TPM.
    package func supplementaryGroups() -> [UInt32] {
        guard isOwn else { return [] }
        do throws(SystemError) {
            let file = try SealedFile(copying: "/etc/group")
            return try SealedContents(of: file.descriptor).withSpan { Self.groups(in: $0) }
        } catch {
            return []
        }
    }

    /// The numbers of the lines of group(5) that name us as member; the group of root is not for us.
    static func groups(in file: Span<UInt8>) -> [UInt32] {
        let text = String(decoding: file.indices.map { file[$0] }, as: UTF8.self)
        return text.split(separator: "\n").compactMap { line in
            let fields = line.split(separator: ":", omittingEmptySubsequences: false)
            guard fields.count == 4, fields[3].split(separator: ",").contains(Substring(name)) else { return nil }
            return UInt32(fields[2]).flatMap { $0 == 0 || $0 == .max ? nil : $0 }
        }
    }
}
