import Glibc
import System

/// The numbers of this process's open descriptors and what they refer to. Other tests run beside, so a leak test looks
/// for its own.
func openDescriptors(to target: String) -> Int {
    var found = 0
    for number in 0..<4096 {
        var name = [CChar](repeating: 0, count: 256)
        let length = unsafe readlink("/proc/self/fd/\(number)", &name, 255)
        if length > 0, String(decoding: name.prefix(length).map(UInt8.init), as: UTF8.self) == target { found += 1 }
    }
    return found
}

/// A new directory under /tmp, removed with all its files when this object goes.
final class TemporaryDirectory {
    let path: String

    init() {
        var template = Array("/tmp/tlshd-test-XXXXXX".utf8CString)
        let made = unsafe mkdtemp(&template)
        precondition(unsafe made != nil)
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit {
        guard let directory = unsafe opendir(path) else { return }
        while let entry = unsafe readdir(directory) {
            let name = unsafe withUnsafeBytes(of: entry.pointee.d_name) { unsafe Array($0.prefix { $0 != 0 }) }
            unsafe unlink(path + "/" + String(decoding: name, as: UTF8.self))
        }
        unsafe closedir(directory)
        unsafe rmdir(path)
    }

    /// Writes a file and returns its path.
    func write(_ bytes: [UInt8], to name: String) -> String {
        let file = path + "/" + name
        let number = unsafe open(file, O_CREAT | O_TRUNC | O_WRONLY, 0o600)
        let written = unsafe Glibc.write(number, bytes, bytes.count)
        precondition(written == bytes.count)
        close(number)
        return file
    }
}

extension SecretBuffer {
    mutating func fill(_ bytes: [UInt8], at offset: Int = 0) {
        withMutableSpan { span in
            for (index, byte) in bytes.enumerated() { span[offset + index] = byte }
        }
    }

    func bytes(_ count: Int) -> [UInt8] {
        withSpan(first: count) { span in span.indices.map { span[$0] } }
    }
}
