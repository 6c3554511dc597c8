internal import Policy
package import System
internal import Unconfined
package import Wire

/// A role's credential files, read whole into sealed copies. What is sent to workers, and sent again to each new one;
/// and what the signer gets of it.
package final class CredentialSet {
    package private(set) var message: RoleCredentials
    /// In the order of `message.files`.
    private var copies: [SealedCopy]
    /// What the signer is to open; `nil` where there is nothing.
    let keys: SignerKeys?
    /// Of those parts that have one, in their order.
    private let keyCopies: [SealedCopy]
    /// Whether workers can use it: what the signer opens is known.
    private(set) var isComplete: Bool

    init(message: RoleCredentials, copies: [SealedCopy], keys: SignerKeys? = nil, keyCopies: [SealedCopy] = []) {
        self.message = message
        self.copies = copies
        self.keys = keys
        self.keyCopies = keyCopies
        isComplete = keys == nil
    }

    /// The copies' descriptors, borrowed: valid while this object lives.
    package var descriptors: [Int32] { copies.map(\.number) }
    var keyDescriptors: [Int32] { keyCopies.map(\.number) }

    var usesTokens: Bool { keys?.usesTokens == true }

    /// Adds what the signer has opened: for workers a private key is a file with its public half, and a certificate on
    /// a token one with its chain.
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

/// A sealed file in a box, since an array cannot hold what cannot be copied.
package final class SealedCopy: Sendable {
    /// The sealed file; it stays this object's.
    package let descriptor: OwnedDescriptor

    package init(of path: String) throws(SystemError) {
        descriptor = try SealedFile(copying: path).takeDescriptor()
    }

    /// What a worker gets of a file: its certificates and revocation lists; a private key's file whole, for who has no
    /// signer.
    ///
    /// - Throws: as `SealedFile`, and ENOENT for a folder without revocation lists.
    package convenience init(of file: CredentialFile) throws(SystemError) {
        if file.kind == .privateKey || file.kind == .postQuantumPrivateKey {
            try self.init(of: file.path)
            return
        }
        var content = PublicPEM()
        let members = try file.members() ?? [file.path]
        for path in members {
            // Nothing else of the file, a private key perhaps, is copied into memory of ours; the mapping and the
            // sealed copy end here, and the kernel clears their pages before another use.
            let whole = try SealedContents(of: SealedFile(copying: path).takeDescriptor())
            whole.withSpan { bytes in
                content.add(
                    bytes, named: path == file.path ? nil : path, mayBeDER: file.kind == .revocationList)
            }
            guard content.bytes.count <= SealedFile.limit else {
                throw SystemError(
                    "open", SystemError.tooLarge, "\(file.path), which has more than \(SealedFile.limit) bytes,")
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

    /// The files in a folder of revocation lists, in their order; `nil` for what is no folder.
    ///
    /// - Throws: `opendir`; ENOENT where there is no list in it.
    package func members() throws(SystemError) -> [String]? {
        guard kind == .revocationList else { return nil }
        let names: [String]
        do throws(SystemError) {
            names = try FolderListing.names(in: path)
        } catch {
            if error.number == SystemError.noFolder || error.number == SystemError.noFile { return nil }
            throw error
        }
        let lists = names.filter { name in !name.hasPrefix(".") && Self.listEndings.contains(where: name.hasSuffix) }
        guard !lists.isEmpty else {
            let endings = Self.listEndings.joined(separator: ", ")
            throw SystemError("open", SystemError.noFile, "\(path), a folder without files that end in \(endings),")
        }
        return lists.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }.map { "\(path)/\($0)" }
    }
}
