import Glibc
import Handshake
import TestSupport
import Testing

/// The programs that play the other end, with the arguments that all tests share.
enum Peers {
    /// A server that sends every line back reversed.
    static func opensslServer(
        _ arguments: [String] = [], certificate: String? = "ecdsa", mode: [String] = ["-rev"]
    ) throws -> (PeerProgram, UInt16) {
        let files = Fixtures.shared
        var all = ["-naccept", "1"] + mode
        if let certificate {
            all += ["-cert", files.path(certificate + ".pem"), "-key", files.path(certificate + ".key")]
        } else {
            all.append("-nocert")
        }
        return try PeerProgram.opensslServer(all + arguments)
    }

    /// A client that verifies us, sends its standard input and shows what it gets; and our end of its connection.
    static func opensslClient(
        _ arguments: [String] = [], certificate: String? = nil, version: String = "-tls1_3", trusts: String = "ca.pem"
    ) throws -> (PeerProgram, Int32) {
        let files = Fixtures.shared
        let (listener, port) = try Loopback.listen()
        defer { close(listener) }
        var all = [version, "-quiet", "-servername", "server.test"]
        all += ["-CAfile", files.path(trusts), "-verify_return_error"]
        if let certificate {
            all += ["-cert", files.path(certificate + ".pem"), "-key", files.path(certificate + ".key")]
        }
        let program = try PeerProgram.opensslClient(port, all + arguments)
        return (program, try Loopback.accept(listener))
    }

    static func gnutlsServer(_ arguments: [String], certificate: String? = "ecdsa") throws -> (PeerProgram, UInt16) {
        let files = Fixtures.shared
        let (reservation, port) = try Loopback.reservePort()
        var all = ["--port", "\(port)", "--echo", "--priority", "NORMAL:-VERS-ALL:+VERS-TLS1.3"]
        if let certificate {
            all += [
                "--x509certfile", files.path(certificate + ".pem"), "--x509keyfile", files.path(certificate + ".key"),
            ]
        }
        return (try PeerProgram("/usr/bin/gnutls-serv", all + arguments, keeping: reservation), port)
    }

    static func gnutlsClient(_ arguments: [String], certificate: String? = nil) throws -> (PeerProgram, Int32) {
        let files = Fixtures.shared
        let (listener, port) = try Loopback.listen()
        defer { close(listener) }
        var all = ["--port", "\(port)", "--sni-hostname", "server.test", "--verify-hostname", "server.test"]
        all += ["--x509cafile", files.path("ca.pem")]
        if let certificate {
            all += [
                "--x509certfile", files.path(certificate + ".pem"), "--x509keyfile", files.path(certificate + ".key"),
            ]
        }
        return (try PeerProgram("/usr/bin/gnutls-cli", all + arguments + ["127.0.0.1"]), try Loopback.accept(listener))
    }

    static let key = [UInt8](0..<32)
    static let keyText = key.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    static let identity = "NVMe1R01 nqn.2014-08.org.example:host nqn.2014-08.org.example:subsystem"
}

extension String {
    /// What stands behind the first `marker`.
    func components(after marker: String) -> Substring {
        guard let range = firstRange(of: marker) else { return "" }
        return self[range.upperBound...]
    }
}

extension Engine {
    /// Sends a line and expects what a reversing server makes of it.
    func checkDataBothWays(with records: RecordLayer? = nil) {
        let records = records ?? self.records()
        records.send("drawer\n")
        #expect(records.text(until: "\n") == "reward\n")
    }

    /// Exchanges a line each way with a program on standard input and output.
    func checkDataBothWays(with program: PeerProgram) {
        let records = self.records()
        program.write("from the program\n")
        #expect(records.text(until: "\n") == "from the program\n")
        records.send("from the engine\n")
        #expect(program.wait(for: "from the engine"), "\(program.text)")
    }
}
