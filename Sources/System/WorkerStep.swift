internal import CLinux
internal import Glibc

/// A note of the handshake that a worker computes for, in a page of memory that it shares with the broker: when the
/// worker hangs or dies, nothing else can tell. A worker that was taken over may write anything, so what it says is
/// worth no more than that.
@safe package final class WorkerStep {
    // Valid from init to deinit. The seals keep the file as long as it is, so no access can fault.
    private let address: UnsafeMutableRawPointer
    private var file: OwnedDescriptor?
    /// The worker's to map; valid until `closeFile`.
    package let fileNumber: Int32

    private static let size = 4096

    /// The broker's side, to be read.
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

    /// The worker's side, to be written. The descriptor can be closed afterwards.
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

    /// Gives up the file when the worker has it.
    package func closeFile() { file = nil }

    /// The job that is computed for; 0 for none.
    package var job: UInt64 {
        get { unsafe linux_load(address) }
        set { unsafe linux_store(address, newValue) }
    }
}
