import Glibc
import System
import TestSupport
import Testing
import Unconfined

@Suite("Owned descriptors")
struct DescriptorTests {
    @Test("a descriptor is closed when its owner goes, and not when it was released")
    func ownership() throws {
        // A number alone tells nothing: another test may have it by now.
        let directory = TemporaryDirectory()
        let path = directory.write([], to: "marker")
        do {
            let owned = OwnedDescriptor(adopting: unsafe open(path, O_RDONLY | O_CLOEXEC))
            #expect(openDescriptors(to: path) == 1)
            let released = try owned.duplicate().release()
            #expect(openDescriptors(to: path) == 2)
            OwnedDescriptor(adopting: released).close()
            #expect(openDescriptors(to: path) == 1)
            withExtendedLifetime(owned.number) {}
        }
        #expect(openDescriptors(to: path) == 0)
    }

    @Test("a duplicate is another number for the same file, and is closed on exec")
    func duplicate() throws {
        let first = OwnedDescriptor(adopting: unsafe open("/dev/null", O_RDONLY | O_CLOEXEC))
        let second = try first.duplicate()
        #expect(first.number != second.number)
        #expect(fcntl(second.number, F_GETFD) & FD_CLOEXEC != 0)
        #expect(try FileIdentity(of: first) == FileIdentity(of: second))
    }

    @Test("duplicating a closed number names the call and EBADF")
    func duplicateOfNothing() {
        #expect(throws: SystemError("fcntl F_DUPFD_CLOEXEC", EBADF)) { _ = try OwnedDescriptor.duplicate(-1).number }
    }

    @Test("an error says call, subject, text and errno's name")
    func errorText() {
        #expect(
            SystemError("open", ENOENT, "/etc/tlshd.conf").description
                == "open /etc/tlshd.conf: No such file or directory (ENOENT)")
        #expect(SystemError("open", ENOENT).description == "open: No such file or directory (ENOENT)")
        #expect(Errno(99_999).name == "errno 99999")
    }
}

@Suite("Secret memory")
struct SecretBufferTests {
    @Test("it starts as zeros, holds what is written, and is zeros again after wiping")
    func wipe() throws {
        var buffer = try SecretBuffer(capacity: 5000)
        #expect(buffer.bytes(5000).allSatisfy { $0 == 0 } && buffer.isWiped)
        buffer.fill([UInt8](repeating: 0xa5, count: 5000))
        #expect(buffer.bytes(5000).allSatisfy { $0 == 0xa5 })
        buffer.wipe(first: 10)
        #expect(buffer.bytes(11) == [UInt8](repeating: 0, count: 10) + [0xa5])
        buffer.wipe(first: 4999)
        #expect(buffer.isWiped == false)
        buffer.wipe()
        #expect(buffer.bytes(5000).allSatisfy { $0 == 0 } && buffer.isWiped)
    }

    @Test("it is locked, excluded from core dumps, and takes memory where it is used alone")
    func pages() throws {
        let page = Int(sysconf(Int32(_SC_PAGESIZE)))
        var buffer = try SecretBuffer(capacity: 16 * page)
        #expect(residentPages(of: buffer) == 0)
        unsafe buffer.withUnsafeMutableBytes { unsafe $0[3 * page] = 1 }
        #expect(residentPages(of: buffer) == 1)
        let address = unsafe buffer.withUnsafeBytes { UInt(bitPattern: $0.baseAddress) }
        #expect(Set(vmFlags(at: address)).isSuperset(of: ["lo", "dd"]))
    }

    @Test("its description is a length")
    func description() throws {
        var buffer = try SecretBuffer(capacity: 32)
        buffer.fill(Array("topsecret".utf8))
        #expect(buffer.description == "32 secret bytes")
    }

    @Test("copying moves exactly the range asked for")
    func copy() throws {
        var source = try SecretBuffer(capacity: 8)
        source.fill([1, 2, 3, 4, 5, 6, 7, 8])
        var target = try SecretBuffer(capacity: 8)
        target.copy(2..<5, of: source, to: 4)
        #expect(target.bytes(8) == [0, 0, 0, 0, 3, 4, 5, 0])
    }

    private func residentPages(of buffer: borrowing SecretBuffer) -> Int? {
        unsafe buffer.withUnsafeBytes { bytes in
            var states = [UInt8](repeating: 0, count: bytes.count / Int(sysconf(Int32(_SC_PAGESIZE))))
            let code = unsafe mincore(UnsafeMutableRawPointer(mutating: bytes.baseAddress), bytes.count, &states)
            return code == 0 ? states.count { $0 & 1 == 1 } : nil
        }
    }

    /// The flags that /proc/self/smaps shows for the mapping around `address`.
    private func vmFlags(at address: UInt) -> [String] {
        guard let file = unsafe fopen("/proc/self/smaps", "re") else { return [] }
        defer { unsafe fclose(file) }
        var line: UnsafeMutablePointer<CChar>?
        var capacity = 0
        defer { unsafe free(line) }
        var isOurs = false
        while unsafe getline(&line, &capacity, file) > 0 {
            guard let text = unsafe line.map({ unsafe String(cString: $0) }) else { break }
            let words = text.split(separator: " ")
            let bounds = words.first?.split(separator: "-").compactMap { UInt($0, radix: 16) } ?? []
            if bounds.count == 2 { isOurs = bounds[0] <= address && address < bounds[1] }
            if isOurs, text.hasPrefix("VmFlags:") { return words.dropFirst().map { String($0) } }
        }
        return []
    }
}
