import Glibc
import TestSupport
import Testing

@testable import System
@testable import Unconfined

/// The environment is the whole process's, and other tests read it and hand it on: each of these has a process of its
/// own.
@Suite("The service manager's word in the environment")
struct ServiceManagerTests {
    @Test("descriptors that are meant for another process are not taken")
    func notOurs() async {
        await #expect(processExitsWith: .success) {
            unsafe setenv("LISTEN_PID", "1", 1)
            unsafe setenv("LISTEN_FDS", "1", 1)
            #expect(KeptDescriptors().names.isEmpty)
        }
    }

    @Test("of several descriptors by one name the first is taken, and is open; the others are closed")
    func namesakes() async {
        await #expect(processExitsWith: .success) {
            let first = try OwnedDescriptor.duplicate(0, from: 1000).release()
            let second = try OwnedDescriptor.duplicate(0, from: first + 1).release()
            try #require(second == first + 1)
            unsafe setenv("LISTEN_PID", "\(getpid())", 1)
            unsafe setenv("LISTEN_FDS", "2", 1)
            unsafe setenv("LISTEN_FDNAMES", "netlink:netlink", 1)
            let kept = KeptDescriptors(from: first)
            #expect(kept.names == ["netlink"])
            let taken = kept.take("netlink")?.release()
            #expect(taken == first)
            #expect(fcntl(first, F_GETFD) >= 0 && fcntl(second, F_GETFD) == -1)
        }
    }

    @Test("a path below %d is in the folder of credentials, where there is one")
    func credentials() async {
        await #expect(processExitsWith: .success) {
            unsafe unsetenv("CREDENTIALS_DIRECTORY")
            #expect(CredentialsDirectory.resolve("%d/key") == "%d/key")
            unsafe setenv("CREDENTIALS_DIRECTORY", "/run/credentials/tlshd.service", 1)
            #expect(CredentialsDirectory.resolve("%d/key") == "/run/credentials/tlshd.service/key")
            #expect(CredentialsDirectory.resolve("/etc/%d/key") == "/etc/%d/key")
        }
    }

    @Test("the watchdog's interval is taken if it is meant for this process")
    func watchdog() async {
        await #expect(processExitsWith: .success) {
            unsafe unsetenv("WATCHDOG_PID")
            unsafe setenv("WATCHDOG_USEC", "10000000", 1)
            #expect(ServiceManager.watchdogInterval == 10_000_000_000)
            unsafe setenv("WATCHDOG_PID", "1", 1)
            #expect(ServiceManager.watchdogInterval == nil)
            unsafe unsetenv("WATCHDOG_PID")
            unsafe setenv("WATCHDOG_USEC", "0", 1)
            #expect(ServiceManager.watchdogInterval == nil)
        }
    }

    @Test("the service manager hears the state, at a path and at an abstract name")
    func notify() async {
        await #expect(processExitsWith: .success) {
            let directory = TemporaryDirectory()
            let receiver = JournalReceiver(in: directory)
            unsafe unsetenv("NOTIFY_SOCKET")
            #expect(try !ServiceManager.notify(["READY=1"]))
            unsafe setenv("NOTIFY_SOCKET", receiver.path, 1)
            #expect(try ServiceManager.notify(["READY=1", "STATUS=serving"]))
            #expect(receiver.receive() == Array("READY=1\nSTATUS=serving".utf8))
            // What others have chosen is no assignment.
            #expect(try ServiceManager.notify(["STATUS=taken by a\nSTOPPING=1\u{202E}"]))
            #expect(receiver.receive() == Array(#"STATUS=taken by a\u{a}STOPPING=1\u{202e}"#.utf8))
            try keep(receiver)
            unsafe setenv("NOTIFY_SOCKET", "@tlshd-nobody-listens", 1)
            #expect(throws: SystemError("sendmsg", ECONNREFUSED, "@tlshd-nobody-listens")) {
                try ServiceManager.notify(["READY=1"])
            }
        }
    }
}

/// The writing end of a pipe is in the manager's hands, and its end is noticed when the manager lets go.
private func keep(_ receiver: borrowing JournalReceiver) throws {
    let pipe = try HandoverPipe.store(as: "heir.7")
    guard let pipe else {
        Issue.record("no service manager")
        return
    }
    var bytes = [UInt8](repeating: 0, count: 64)
    var flags: Int32 = 0
    var descriptors: ReceivedDescriptors? = ReceivedDescriptors()
    if let descriptors {
        let length = try unsafe bytes.withUnsafeMutableBytes {
            try unsafe ControlMessage.receive(into: $0, &flags, descriptors, limit: 1, from: receiver.socket.number)
        }
        #expect(String(decoding: bytes.prefix(length), as: UTF8.self) == "FDSTORE=1\nFDPOLL=0\nFDNAME=heir.7")
        #expect(descriptors.count == 1)
    }
    #expect(pipe.isKept)
    descriptors = nil
    #expect(!pipe.isKept)
}
