internal import Foundation
internal import Glibc
package import System

/// The numbers of this process's open descriptors and what they refer to. Other tests run beside, so a leak test looks
/// for its own.
package func openDescriptors(to target: String) -> Int {
    var found = 0
    for number in 0..<4096 {
        var name = [CChar](repeating: 0, count: 256)
        let length = unsafe readlink("/proc/self/fd/\(number)", &name, 255)
        if length > 0, String(decoding: name.prefix(length).map(UInt8.init), as: UTF8.self) == target { found += 1 }
    }
    return found
}

/// A new directory under /tmp, removed with all its files when this object goes.
package final class TemporaryDirectory {
    package let path: String

    package init() {
        var template = Array("/tmp/tlshd-test-XXXXXX".utf8CString)
        let made = unsafe mkdtemp(&template)
        precondition(unsafe made != nil)
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    /// Where the file of this name is, or would be.
    package func path(_ name: String) -> String { "\(path)/\(name)" }

    /// Writes a file, whatever the umask, and returns its path.
    @discardableResult
    package func write(_ bytes: [UInt8], to name: String, mode: Int = 0o600) -> String {
        let attributes: [FileAttributeKey: Any] = [.posixPermissions: mode]
        guard FileManager.default.createFile(atPath: path(name), contents: Data(bytes), attributes: attributes)
        else { fatalError("cannot write \(path(name))") }
        return path(name)
    }

    @discardableResult
    package func write(_ text: String, to name: String, mode: Int = 0o600) -> String {
        write(Array(text.utf8), to: name, mode: mode)
    }

    /// The text of a file; empty if there is none.
    package func read(_ name: String) -> String { (try? String(contentsOfFile: path(name), encoding: .utf8)) ?? "" }
}

/// A file system that does not answer: whoever touches a file under its paths waits until it is opened.
package final class Gate: @unchecked Sendable {
    // `isOpen` and `hasStopped` are touched under the condition's lock alone.
    private let condition = NSCondition()
    private let paths: [String]
    private var isOpen = false
    private var hasStopped = false

    package init(_ paths: String...) {
        self.paths = paths
    }

    package func pass(_ path: String) {
        guard paths.contains(where: path.hasPrefix) else { return }
        condition.lock()
        hasStopped = true
        while !isOpen { condition.wait() }
        condition.unlock()
    }

    /// Whether somebody has come to it.
    package var isReached: Bool {
        condition.lock()
        defer { condition.unlock() }
        return hasStopped
    }

    package func open() {
        condition.lock()
        isOpen = true
        condition.broadcast()
        condition.unlock()
    }
}

/// A socket that plays journald, or the service manager.
package struct JournalReceiver: ~Copyable {
    package let socket: OwnedDescriptor
    package let path: String

    package init(in directory: TemporaryDirectory) {
        path = directory.path + "/socket"
        socket = OwnedDescriptor(
            adopting: Glibc.socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0))
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let name = Array(path.utf8)
        unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: name) }
        let size = socklen_t(MemoryLayout<sockaddr_un>.size)
        let result = unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe bind(socket.number, $0, size)
            }
        }
        precondition(result == 0)
    }

    /// The next datagram; empty where there is none.
    package func receive() -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 1 << 20)
        let count = unsafe recv(socket.number, &bytes, bytes.count, Int32(MSG_DONTWAIT))
        return Array(bytes.prefix(max(count, 0)))
    }

    /// The lines that wait, each with its fields; of values with line breaks nothing.
    package func lines() -> [[String: String]] {
        var lines: [[String: String]] = []
        while case let bytes = receive(), !bytes.isEmpty {
            let pairs = bytes.split(separator: UInt8(ascii: "\n")).compactMap { line -> (String, String)? in
                guard let equals = line.firstIndex(of: UInt8(ascii: "=")) else { return nil }
                return (
                    String(decoding: line[..<equals], as: UTF8.self),
                    String(decoding: line[(equals + 1)...], as: UTF8.self)
                )
            }
            lines.append(Dictionary(pairs) { first, _ in first })
        }
        return lines
    }
}

extension SecretBuffer {
    /// Writes bytes at an offset.
    package mutating func fill(_ bytes: [UInt8], at offset: Int = 0) {
        withMutableSpan { span in
            for (index, byte) in bytes.enumerated() { span[offset + index] = byte }
        }
    }

    /// A copy of the first bytes.
    package func bytes(_ count: Int) -> [UInt8] {
        withSpan(first: count) { span in span.indices.map { span[$0] } }
    }
}

/// Waits for another thread, process or the kernel, which may take a moment.
///
/// - Parameters:
///   - step: what is done between two looks at the condition.
///   - isOver: the condition. The limit is for what never happens.
package func wait(meanwhile step: () throws -> Void, until isOver: () throws -> Bool) throws {
    let deadline = Clock.deadline(in: .seconds(120))
    while try !isOver() {
        guard Clock.monotonicNanoseconds() < deadline else {
            throw SystemError("wait", ETIMEDOUT, "it did not happen within two minutes")
        }
        try step()
    }
}

package func wait(until isOver: () throws -> Bool) throws { try wait(meanwhile: { usleep(1000) }, until: isOver) }

/// Waits until something can be read, or the end is reached.
///
/// - Returns: `false` where that is not so for a minute.
package func awaitInput(_ number: Int32) -> Bool {
    let end = Clock.deadline(in: .seconds(60))
    while true {
        let now = Clock.monotonicNanoseconds()
        var entry = pollfd(fd: number, events: Int16(POLLIN), revents: 0)
        let count = unsafe poll(&entry, 1, Int32(end > now ? (end - now) / 1_000_000 + 1 : 0))
        // Another test's setegid(2) interrupts every thread.
        if count < 0, errno == EINTR { continue }
        return count > 0
    }
}

extension Poller {
    /// Waits as `wait` does, once more where only a signal ended it: another test's setegid(2) interrupts all threads,
    /// by a signal that cannot be blocked (nptl(7)).
    package func waitUndisturbed(timeout: UInt64) throws(SystemError) -> [Event] {
        while true {
            errno = 0
            let events = try wait(timeout: timeout)
            guard events.isEmpty, errno == EINTR else { return events }
        }
    }
}
