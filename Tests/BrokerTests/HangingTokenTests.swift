import Foundation
import Glibc
import Handshake
import TestSupport
import Testing
import Wire

@testable import Broker
@testable import Control
@testable import System

/// Keys on a token whose module hangs where no signal of the tests' can reach it: inside a call of the signer's.
extension SignerTests {
    var keyOnToken: String { "pkcs11:token=test;object=key;type=private?pin-source=file:\(path("pin"))" }

    /// Makes a SoftHSM2 token that holds the server's key, and a file with its PIN.
    ///
    /// - Returns: the module's configuration.
    func makeToken() throws -> String {
        try FileManager.default.createDirectory(atPath: path("store"), withIntermediateDirectories: true)
        let configuration = path("softhsm2.conf")
        try Data("directories.tokendir = \(path("store"))\nlog.level = ERROR\n".utf8).write(
            to: URL(filePath: configuration))
        let token = ["SOFTHSM2_CONF=\(configuration)", "softhsm2-util"]
        try Command.run(
            token + ["--init-token", "--free", "--label", "test", "--pin", "1234", "--so-pin", "5678"])
        try Command.run(
            "openssl", "pkcs8", "-topk8", "-nocrypt", "-in", path("server.key"), "-out", path("server.p8"))
        try Command.run(
            token + [
                "--import", path("server.p8"), "--token", "test", "--label", "key", "--id", "01", "--pin", "1234",
            ])
        try Data("1234\n".utf8).write(to: URL(filePath: path("pin")))
        try Command.run("chmod", "-R", "a+rwX", path("store"), configuration)
        try Command.run("chmod", "600", path("pin"))
        try Command.run("chmod", "711", folder.path)
        return configuration
    }

    /// Has the signer use SoftHSM2 through a module that hangs in C_Sign as long as the file `hang-always` exists, and
    /// once where `hang-once` does.
    ///
    /// - Returns: the signer's program.
    private func hangingSigner(_ configuration: String) throws -> String {
        try #require(getuid() == 0, "it needs a mount namespace of its own: run as root")
        let source = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../HangingModule/module.c")
        try FileManager.default.createDirectory(atPath: path("modules"), withIntermediateDirectories: true)
        try Command.run(
            "gcc", "-shared", "-fPIC", "-Wall", "-Werror", "-D_GNU_SOURCE", "-I/usr/include/p11-kit-1", "-o",
            path("module.so"), source.path)
        try Data("module: \(path("module.so"))\n".utf8).write(to: URL(filePath: path("modules/hanging.module")))
        let script = """
            #!/bin/sh
            export SOFTHSM2_CONF=\(configuration) HANG_ALWAYS=\(path("hang-always")) HANG_ONCE=\(path("once/hang"))
            exec unshare -m sh -c 'mount --bind \(path("modules")) /usr/share/p11-kit/modules && exec \(Product.path("tlshd-signer"))'

            """
        try Data(script.utf8).write(to: URL(filePath: path("signer")))
        try FileManager.default.createDirectory(atPath: path("once"), withIntermediateDirectories: true)
        try Command.run("chmod", "-R", "a+rX", path("module.so"), path("modules"))
        try Command.run("chmod", "777", path("once"))
        try Command.run("chmod", "755", path("signer"))
        return path("signer")
    }

    /// The server's key is on the token, the client's in a file.
    private var bothSettings: String {
        settings(key: keyOnToken)
            + "x509.certificate=\(path("client.pem"))\nx509.private_key=\(path("client.key"))\n"
    }

    @Test("a token's module that never returns from C_Sign: its signer is replaced, and keys in files sign meanwhile")
    func hangsInModule() throws {
        try issue("client")
        let broker = try broker(bothSettings, signer: try hangingSigner(try makeToken()))
        let tokens = broker.signer(.tokens), files = broker.signer(.files)
        try turn(broker) { inForce(broker) }
        #expect(try shake(broker))
        #expect(try shakeAsClient(broker))

        let first = try #require(tokens.process), ofFiles = try #require(files.process)
        let listener = try LoopbackListener(), peer = try opensslClient(listener)
        try Data().write(to: URL(filePath: path("once/hang")))
        upcall.ask(request, on: try listener.accept())
        try turn(broker) { !FileManager.default.fileExists(atPath: path("once/hang")) }
        // It hangs for 4 s: the worker gives up after 2 s, and the broker 2 s later.
        #expect(try shakeAsClient(broker))
        #expect(tokens.process === first && tokens.deaths == 0)
        func refused() -> Bool { upcall.answers.contains { $0.status == .timedOut } }
        try turn(broker) { refused() }
        #expect(broker.control.history.failures(1).first?.reason == "signerUnavailable")
        _ = peer.finish()
        #expect(try shakeAsClient(broker))
        #expect(try shake(broker))
        #expect(tokens.deaths == 1 && tokens.process?.number == first.number + 1)
        #expect(files.process === ofFiles && files.deaths == 0)
        #expect(broker.pool.deaths == 0)
        try turn(broker) { broker.reaper.dying.isEmpty }
    }

    @Test("a token's module that hangs for good keeps its own key from being used, and keys in files wait for nothing")
    func hangsForGood() throws {
        try issue("client")
        let broker = try broker(bothSettings, signer: try hangingSigner(try makeToken()))
        let tokens = broker.signer(.tokens), files = broker.signer(.files)
        try turn(broker) { inForce(broker) }
        #expect(try shake(broker))
        let first = try #require(tokens.process), ofFiles = try #require(files.process)
        try Data().write(to: URL(filePath: path("hang-always")))
        #expect(try !shake(broker))
        // Its successor hangs in opening the key.
        let owner = CredentialsOwner(.standard, .server)
        try turn(broker) { tokens.process?.number == first.number + 1 && tokens.process?.opening?.owner == owner }
        #expect(try shakeAsClient(broker))
        #expect(tokens.process?.opening?.owner == owner)
        let since = try #require(tokens.process?.owesSince)
        let beforePause = broker.loop.now
        tokens.check(since + 20 * 1_000_000_000)
        #expect(broker.credentials[owner]?.problem.contains("does not end") == true)
        try turn(broker) { tokens.process?.isOpening == false }
        #expect(tokens.process?.number == first.number + 2)
        #expect(try shakeAsClient(broker))
        #expect(try !shake(broker))
        #expect(broker.control.history.failures(1).first?.reason == "privateKeyUnreadable")
        #expect(try shakeAsClient(broker))
        #expect(files.process === ofFiles && files.deaths == 0)

        try FileManager.default.removeItem(atPath: path("hang-always"))
        broker.credentials.retry(beforePause + 299 * 1_000_000_000)
        #expect(broker.credentials[owner]?.candidate == nil)
        broker.credentials.retry(broker.loop.now + 301 * 1_000_000_000)
        try turn(broker) { broker.credentials[owner]?.problem.isEmpty == true && inForce(broker) }
        #expect(try shake(broker))
        #expect(broker.pool.deaths == 0)
    }
}
