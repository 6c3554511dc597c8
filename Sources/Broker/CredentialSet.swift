internal import Policy
package import System
internal import Unconfined
package import Wire

/// Copies of the credential files of a role. Sent to all workers, including those that start later; the signer gets its
/// part.
package final class CredentialSet {
    package private(set) var message: RoleCredentials
    /// In the order of `message.files`.
    private var copies: [SealedCopy]
    /// Keys for the signer; `nil` if there are none.
    let keys: SignerKeys?
    /// Files of the parts that have one, in their order.
    private let keyCopies: [SealedCopy]
    /// True if the set can be sent to workers: the signer has opened its keys, if there are any.
    private(set) var isComplete: Bool

    init(message: RoleCredentials, copies: [SealedCopy], keys: SignerKeys? = nil, keyCopies: [SealedCopy] = []) {
        self.message = message
        self.copies = copies
        self.keys = keys
        self.keyCopies = keyCopies
        isComplete = keys == nil
    }

    /// The copies' descriptors, borrowed; valid as long as this object.
    package var descriptors: [Int32] { copies.map(\.number) }
    var keyDescriptors: [Int32] { keyCopies.map(\.number) }

    var usesTokens: Bool { keys?.usesTokens == true }

    /// Adds what the signer has opened. A worker gets the public half of a private key, and a certificate on a token
    /// with its chain.
    func complete(with parts: [[UInt8]]) throws(SystemError) {
        guard let keys, !isComplete else { return }
        var entries = Array(zip(message.files, copies))
        for (part, text) in zip(keys.parts, parts) {
            let copy = SealedCopy(try SealedFile.make(named: "tlshd-public", holding: text))
            entries.append((CredentialFile(kind: part.kind, pair: part.pair, path: part.place), copy))
        }
        entries.sort { CredentialFile.precedes($0.0, $1.0) }
        message.files = entries.map(\.0)
        copies = entries.map(\.1)
        isComplete = true
    }
}

extension SignerKeys {
    var usesTokens: Bool { parts.contains { $0.source != .file } }
}

/// A reference to a sealed file, because an array cannot contain noncopyable values.
package final class SealedCopy: Sendable {
    /// The sealed file; owned by this object.
    package let descriptor: OwnedDescriptor

    package init(of path: String) throws(SystemError) {
        descriptor = try SealedFile(copying: path).takeDescriptor()
    }

    /// Copies the part of a file that a worker gets: certificates and revocation lists. The file of a private key is
    /// copied whole, for programs without a signer.
    ///
    /// - Throws: As `SealedFile`, and ENOENT for a directory without revocation lists.
    package convenience init(of file: CredentialFile) throws(SystemError) {
        if file.kind == .privateKey || file.kind == .postQuantumPrivateKey {
            try self.init(of: file.path)
            return
        }
        var content = PublicPEM()
        let members = try file.members() ?? [file.path]
        for path in members {
            // Only certificates and revocation lists are copied into our memory; the file may also contain a private
            // key. The mapping and the sealed copy end here, and the kernel clears their pages before they are reused.
            let whole = try SealedContents(of: SealedFile(copying: path).takeDescriptor())
            whole.withSpan { bytes in
                content.add(
                    bytes, named: path == file.path ? nil : path, mayBeDER: file.kind == .revocationList)
            }
            guard content.bytes.count <= SealedFile.limit else {
                throw SystemError(
                    "open", .efbig, "\(file.path), which has more than \(SealedFile.limit) bytes,")
            }
        }
        self.init(try SealedFile.make(named: "tlshd-public", holding: content.bytes))
    }

    init(_ descriptor: consuming OwnedDescriptor) {
        self.descriptor = descriptor
    }

    /// Borrowed.
    var number: Int32 { descriptor.number }
}

extension CredentialFile {
    private static let listEndings = [".pem", ".crl", ".der"]

    /// The files in a directory of revocation lists, sorted; `nil` if the path is no directory.
    ///
    /// - Throws: `opendir`; ENOENT if the directory contains no list.
    package func members() throws(SystemError) -> [String]? {
        guard kind == .revocationList else { return nil }
        let names: [String]
        do throws(SystemError) {
            names = try FolderListing.names(in: path)
        } catch {
            if error.number == .enotdir || error.number == .enoent { return nil }
            throw error
        }
        let lists = names.filter { name in !name.hasPrefix(".") && Self.listEndings.contains(where: name.hasSuffix) }
        guard !lists.isEmpty else {
            let endings = Self.listEndings.joined(separator: ", ")
            throw SystemError("open", .enoent, "\(path), a folder without files that end in \(endings),")
        }
        return lists.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }.map { "\(path)/\($0)" }
    }
}
