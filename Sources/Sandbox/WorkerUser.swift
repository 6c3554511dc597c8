internal import System

/// The user that workers and the signer run as.
package struct WorkerUser: Sendable, Equatable {
    package let user: UInt32
    package let group: UInt32
    /// True for the dedicated user. Other processes may also run as `nobody`.
    package let isOwn: Bool

    /// Created by systemd/tlshd.sysusers.
    package static let name = "tlshd"
    /// The kernel's overflow IDs, which are `nobody` on every distribution.
    package static let nobody = WorkerUser(user: 65_534, group: 65_534, isOwn: false)

    /// The user `tlshd` in /etc/passwd, else `nobody`. The file is parsed directly: name services would load code into
    /// this process, and may not be available yet.
    package static func find() -> WorkerUser {
        do throws(SystemError) {
            let file = try SealedFile(copying: "/etc/passwd")
            return try SealedContents(of: file.descriptor).withSpan { find(in: $0) } ?? nobody
        } catch {
            return nobody
        }
    }

    /// The entry of our user in passwd(5), if its IDs are unprivileged.
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

    /// Groups of the user `tlshd` in /etc/group, such as `tss` for access to the TPM.
    package func supplementaryGroups() -> [UInt32] {
        guard isOwn else { return [] }
        do throws(SystemError) {
            let file = try SealedFile(copying: "/etc/group")
            return try SealedContents(of: file.descriptor).withSpan { Self.groups(in: $0) }
        } catch {
            return []
        }
    }

    /// IDs of the groups in group(5) that have our user as member. Group 0 is excluded.
    static func groups(in file: Span<UInt8>) -> [UInt32] {
        let text = String(decoding: file.indices.map { file[$0] }, as: UTF8.self)
        return text.split(separator: "\n").compactMap { line in
            let fields = line.split(separator: ":", omittingEmptySubsequences: false)
            guard fields.count == 4, fields[3].split(separator: ",").contains(Substring(name)) else { return nil }
            return UInt32(fields[2]).flatMap { $0 == 0 || $0 == .max ? nil : $0 }
        }
    }
}
