internal import CKeyutils
package import KernelWire
package import Policy
package import System
internal import Wire

/// A key in the kernel's keyrings. This value grants no access: permissions and possession by the calling thread decide
/// (security/keys/process_keys.c).
package struct Key: Sendable, Hashable {
    package let serial: KeySerial

    package init(_ serial: KeySerial) {
        self.serial = serial
    }

    /// Name such as `key 0x12ab34cd`, as in keyctl(1) and /proc/keys.
    package var name: String {
        "key 0x" + String(UInt32(bitPattern: serial.number), radix: 16)
    }

    /// Reads type, owner, permissions and description. Requires View permission.
    package func describe() throws(SystemError) -> KeyDescription {
        // A description is at most one page, preceded by a short text (security/keys/keyctl.c).
        var text = [UInt8](repeating: 0, count: 4096 + 128)
        let length = unsafe text.withUnsafeMutableBytes { raw in
            unsafe keyctl_describe(serial.number, raw.baseAddress?.assumingMemoryBound(to: CChar.self), raw.count)
        }
        guard length > 0 else { throw .last("keyctl_describe", "of \(name)") }
        guard length <= text.count else {
            throw .wrongSize(of: "description of \(name)", bytes: length, limit: text.count)
        }
        do throws(WireError) {
            // The length includes the NUL.
            return try KeyDescription(from: text.span.extracting(first: length - 1))
        } catch {
            throw SystemError("description of the key:", 0, error.description)
        }
    }

    /// True if the key exists and is neither expired nor revoked.
    package var isAlive: Bool {
        keyctl_describe(serial.number, nil, 0) > 0
    }

    /// Copies the payload to `offset` of `buffer`. Requires Read permission, or possession.
    ///
    /// - Parameter limit: maximum length; `buffer` must have room for it.
    /// - Returns: The length, 1 to `limit`. After an error `buffer` contains nothing of the payload.
    package func read(
        into buffer: inout SecretBuffer, at offset: Int = 0, limit: Int
    ) throws(SystemError) -> Int {
        precondition(offset >= 0 && limit > 0 && limit <= buffer.capacity - offset)
        let number = serial.number
        let length = unsafe buffer.withUnsafeMutableBytes { raw in
            // Within the buffer by the precondition.
            let start = unsafe raw.baseAddress?.advanced(by: offset).assumingMemoryBound(to: CChar.self)
            return unsafe keyctl_read(number, start, limit)
        }
        guard length >= 0 else { throw .last("keyctl_read", "of \(name)") }
        guard length > 0, length <= limit else {
            if length > 0 { buffer.wipe(offset..<(offset + limit)) }
            throw .wrongSize(of: name, bytes: length, limit: limit)
        }
        return length
    }
}

extension SystemError {
    /// A key or its description is empty or too long.
    package static func wrongSize(of key: String, bytes: Int, limit: Int) -> SystemError {
        SystemError(key, 0, "has \(bytes) bytes, where 1 to \(limit) are allowed")
    }

    /// True if the key does not exist, has expired, or was revoked.
    package var isOfGoneKey: Bool { [.enokey, .ekeyexpired, .ekeyrevoked].contains(number) }
}
