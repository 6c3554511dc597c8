internal import CLinux
internal import Glibc

/// The job that a worker currently computes for, in a page that it shares with the broker: after a worker hangs or
/// dies, this is the only record. A compromised worker can write anything, so the value is only a hint.
@safe package final class WorkerStep {
    // Valid from init to deinit. The seals fix the size of the file, so no access can fault.
    private let address: UnsafeMutableRawPointer
    private var file: OwnedDescriptor?
    /// File for the worker to map; valid until `closeFile`.
    package let fileNumber: Int32

    private static let size = 4096

    /// The broker's side, read-only.
    package init() throws(SystemError) {
        let number = unsafe linux_memory_file("tlshd-step")
        guard number >= 0 else { throw .last("memfd_create") }
        let memory = OwnedDescriptor(adopting: number)
        guard ftruncate(number, Self.size) == 0 else { throw .last("ftruncate") }
        guard linux_seal_size(number) == 0 else { throw .last("fcntl F_ADD_SEALS") }
        unsafe address = try Self.map(number, PROT_READ)
        fileNumber = number
        file = consume memory
    }

    /// The worker's side, writable. The descriptor can be closed afterwards.
    package init(mapping number: Int32) throws(SystemError) {
        unsafe address = try Self.map(number, PROT_READ | PROT_WRITE)
        fileNumber = number
    }

    deinit { unsafe munmap(address, Self.size) }

    @unsafe private static func map(_ number: Int32, _ rights: Int32) throws(SystemError) -> UnsafeMutableRawPointer {
        let address = unsafe mmap(nil, size, rights, MAP_SHARED, number, 0)
        guard let address = unsafe address, unsafe address != MAP_FAILED else { throw .last("mmap") }
        return unsafe address
    }

    /// Closes the file after the worker has received it.
    package func closeFile() { file = nil }

    /// Current job; 0 for none.
    package var job: UInt64 {
        get { unsafe linux_load(address) }
        set { unsafe linux_store(address, newValue) }
    }
}
