import System
import TestSupport
import Testing
import Unconfined

@Suite("The host and this program")
struct HostTests {
    @Test("the dynamic linker is the one that readelf finds in the program's file, and can be executed")
    func dynamicLinker() throws {
        let linker = try Host.dynamicLinker()
        let headers = try Command.run("readelf", "-lW", "/proc/\(ThisProcess.identifier)/exe")
        #expect(headers.contains("[Requesting program interpreter: \(linker)]"))
        #expect(Host.isExecutable(linker))
    }
}
