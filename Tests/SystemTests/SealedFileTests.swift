import Glibc
import System
import TestSupport
import Testing
import Unconfined

@Suite("Sealed files")
struct SealedFileTests {
    @Test(
        "the copy holds the file's bytes and cannot be changed, and the identity is the file's",
        arguments: [0, 1, 70_000])
    func copy(size: Int) throws {
        let directory = TemporaryDirectory()
        let bytes = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 7) }
        let path = directory.write(bytes, to: "file")
        let sealed = try SealedFile(copying: path)
        #expect(try sealed.identity == FileIdentity(ofPath: path))
        #expect(sealed.identity.size == Int64(size) && !sealed.identity.isOpenToOthers)
        var byte: UInt8 = 1
        #expect(unsafe pwrite(sealed.descriptor.number, &byte, 1, 0) == -1)
        #expect(ftruncate(sealed.descriptor.number, 100_000) == -1)
        let contents = try SealedContents(of: sealed.descriptor)
        #expect(contents.withSpan { span in span.indices.map { span[$0] } } == bytes)
    }

    @Test("a file that changed has another identity")
    func identity() throws {
        let directory = TemporaryDirectory()
        let path = directory.write([1, 2], to: "file")
        let before = try FileIdentity(ofPath: path)
        #expect(try FileIdentity(ofPath: path) == before)
        #expect(unsafe chmod(path, 0o644) == 0)
        let after = try FileIdentity(ofPath: path)
        #expect(after != before && after.isOpenToOthers)
    }

    @Test("what is missing, no regular file, or too large is refused by name")
    func refused() throws {
        #expect(throws: SystemError("open", ENOENT, "/nonexistent/file")) {
            _ = try SealedFile(copying: "/nonexistent/file").identity
        }
        #expect(throws: SystemError("open", .success, "/dev/null: it is a device")) {
            _ = try SealedFile(copying: "/dev/null").identity
        }
        #expect(throws: SystemError("open", .success, "/tmp: it is a folder")) {
            _ = try SealedFile(copying: "/tmp").identity
        }
        let directory = TemporaryDirectory()
        let path = directory.write([], to: "large")
        #expect(unsafe truncate(path, off_t(SealedFile.limit + 1)) == 0)
        #expect(throws: SystemError("open", .success, "\(path): it has more than \(SealedFile.limit) bytes")) {
            _ = try SealedFile(copying: path).identity
        }
    }

    @Test("a file that can still be changed is not mapped")
    func unsealed() throws {
        let directory = TemporaryDirectory()
        let path = directory.write([1], to: "file")
        let file = OwnedDescriptor(adopting: unsafe open(path, O_RDONLY | O_CLOEXEC))
        #expect(throws: SystemError.self) { _ = try SealedContents(of: file).count }
    }
}
