internal import Broker
internal import Glibc
internal import Settings
internal import System
internal import Unconfined

/// Adds PSKs to a file and removes them. The file is replaced atomically: a reader sees either the old or the new
/// contents.
enum PSKFileWriter {
    /// Adds a PSK in psktool's format, in the place of one with the same identity.
    static func put(
        _ psk: borrowing SecretBuffer, length keyLength: Int, _ identity: String, into path: String
    ) throws {
        let path = resolved(path)
        let former = try contents(of: path, without: Array(identity.utf8))
        let kept = former.length
        let line = Array("\(identity):".utf8)
        let total = kept + line.count + 2 * keyLength + 2
        var text = try SecretBuffer(capacity: total)
        text.copy(0..<kept, of: former.text, to: 0)
        let length = psk.withSpan(first: keyLength) { key in
            text.withMutableSpan { target in
                var count = kept
                func put(_ byte: UInt8) {
                    target[count] = byte
                    count += 1
                }
                if count > 0, target[count - 1] != UInt8(ascii: "\n") { put(UInt8(ascii: "\n")) }
                line.forEach(put)
                for index in key.indices {
                    put(digit(key[index] >> 4))
                    put(digit(key[index] & 15))
                }
                put(UInt8(ascii: "\n"))
                return count
            }
        }
        try replace(path, text, length)
    }

    /// Removes the PSK with this identity.
    ///
    /// - Returns: false if the file has none.
    static func remove(_ identity: String, from path: String) throws -> Bool {
        let path = resolved(path)
        guard try identities(in: path).contains(identity) else { return false }
        let rest = try contents(of: path, without: Array(identity.utf8))
        try replace(path, rest.text, rest.length)
        return true
    }

    private static func digit(_ value: UInt8) -> UInt8 {
        value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: "a") + value - 10
    }

    /// The part of the file to keep.
    private struct Former: ~Copyable {
        var text: SecretBuffer
        var length = 0
    }

    /// Resolves symbolic links, which are kept.
    private static func resolved(_ path: String) -> String {
        guard let found = unsafe realpath(path, nil) else { return path }
        defer { unsafe free(found) }
        return unsafe String(cString: found)
    }

    /// Identities in a file.
    static func identities(in path: String) throws -> [String] {
        let contents = try SealedContents(of: SealedFile(copying: path).takeDescriptor())
        return try contents.withSpan { span in
            try PSKFile.parse(span, file: path).map { String(decoding: $0.identity, as: UTF8.self) }
        }
    }

    /// The file without the line of this identity; empty if there is no file.
    private static func contents(of path: String, without identity: [UInt8]) throws -> Former {
        let source: SealedContents
        do throws(SystemError) {
            source = try SealedContents(of: SealedFile(copying: path).takeDescriptor())
        } catch {
            guard error.number == .enoent else { throw error }
            return Former(text: try SecretBuffer(capacity: 1))
        }
        let size = max(1, source.count)
        var former = Former(text: try SecretBuffer(capacity: size))
        former.length = try source.withSpan { span in
            let replaced = try PSKFile.parse(span, file: path).first { $0.identity == identity }?.line
            return former.text.withMutableSpan { copy(span, withoutLine: replaced, to: &$0) }
        }
        return former
    }

    /// - Returns: The number of bytes copied.
    @_lifetime(target: copy target)
    private static func copy(
        _ bytes: Span<UInt8>, withoutLine replaced: Int?, to target: inout MutableSpan<UInt8>
    ) -> Int {
        var line = 1
        var count = 0
        for index in bytes.indices {
            if line != replaced {
                target[count] = bytes[index]
                count += 1
            }
            if bytes[index] == UInt8(ascii: "\n") { line += 1 }
        }
        return count
    }

    /// Writes a temporary file with mode 0600 and renames it.
    private static func replace(_ path: String, _ text: borrowing SecretBuffer, _ length: Int) throws(SystemError) {
        let draft = "\(path).new.\(ThisProcess.identifier)"
        // In errors, as the draft is gone when they are read.
        let name = "a new file in the place of \(path)"
        let file = try create(draft, named: name)
        do throws(SystemError) {
            try write(text, length, to: file.number, name)
            guard fsync(file.number) == 0 else { throw .last("fsync", name) }
            guard unsafe rename(draft, path) == 0 else { throw .last("rename", name) }
        } catch {
            _ = unsafe unlink(draft)
            throw error
        }
    }

    /// A new file, by default with mode 0600.
    ///
    /// - Parameter name: the file in errors; `nil` for its path.
    static func create(
        _ path: String, named name: String? = nil, mode: mode_t = 0o600
    ) throws(SystemError) -> OwnedDescriptor {
        let number = unsafe open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode)
        guard number >= 0 else { throw .last("open", name ?? path) }
        return OwnedDescriptor(adopting: number)
    }

    /// Writes the first `length` bytes.
    static func write(
        _ text: borrowing SecretBuffer, _ length: Int, to descriptor: Int32, _ name: String
    ) throws(SystemError) {
        try text.withSpan(first: length) { (span) throws(SystemError) in
            try OwnedDescriptor.write(span, to: descriptor, name)
        }
    }
}
