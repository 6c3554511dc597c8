internal import CLinux
package import Handshake
package import Wire

/// A key in the kernel's keyrings. Holding this value grants nothing: what may be done with it, possession and
/// permissions decide, and possession is the calling thread's (security/keys/process_keys.c).
package struct Key: Sendable, Hashable {
    package let serial: KeySerial

    package init(_ serial: KeySerial) {
        self.serial = serial
    }

    /// Such as `key 0x12ab34cd`, the way keyctl(1) and /proc/keys show it.
    package var name: String {
        "key 0x" + String(UInt32(bitPattern: serial.number), radix: 16)
    }

    /// Type, owner, permissions and description; needs the right to view it.
    package func describe() throws(KeyError) -> KeyDescription {
        // The longest description is a page, and what stands before it is short (security/keys/keyctl.c).
        var text = [UInt8](repeating: 0, count: 4096 + 128)
        let length = unsafe text.withUnsafeMutableBytes { raw in
            unsafe keyctl_describe(serial.number, raw.baseAddress?.assumingMemoryBound(to: CChar.self), raw.count)
        }
        guard length > 0 else { throw KeyError(.last("keyctl_describe", "of \(name)")) }
        guard length <= text.count else {
            throw .wrongSize(key: "description of \(name)", bytes: length, limit: text.count)
        }
        do throws(WireError) {
            // The length includes the NUL.
            return try KeyDescription(from: text.span.extracting(first: length - 1))
        } catch {
            throw .malformed(error)
        }
    }

    /// Whether it exists and is neither expired nor revoked.
    package var isAlive: Bool {
        keyctl_describe(serial.number, nil, 0) > 0
    }

    /// Copies the payload to `offset` of `buffer`; needs the right to read it, or possession.
    ///
    /// - Parameter limit: the most bytes to accept; `buffer` must have room for them.
    /// - Returns: its length, 1 to `limit`. On an error nothing of it is in `buffer`.
    package func read(
        into buffer: inout SecretBuffer, at offset: Int = 0, limit: Int
    ) throws(KeyError) -> Int {
        precondition(offset >= 0 && limit > 0 && limit <= buffer.capacity - offset)
        let number = serial.number
        let length = unsafe buffer.withUnsafeMutableBytes { raw in
            // Inside the buffer, as the precondition says.
            let start = unsafe raw.baseAddress?.advanced(by: offset).assumingMemoryBound(to: CChar.self)
            return unsafe keyctl_read(number, start, limit)
        }
        guard length >= 0 else { throw KeyError(.last("keyctl_read", "of \(name)")) }
        guard length > 0, length <= limit else {
            if length > 0 { buffer.wipe(offset..<(offset + limit)) }
            throw .wrongSize(key: name, bytes: length, limit: limit)
        }
        return length
    }
}
