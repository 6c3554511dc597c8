import Testing

@testable import Settings

/// Good files, to be read whole and in damaged forms.
enum Samples {
    static let fullSettings = """
        # everything that can be set
        [debug]
        loglevel=1
        tls = 2
        nl=+3
        delay_done=4

        [authenticate]
        keyrings=a; 77;.nfs;
        psk.file=/etc/tlshd/psk
        psk.keyring=.mine

        [authenticate.client]
        x509.truststore=/c/trust.pem
        x509.crl=/c/crl.pem
        x509.certificate=/c/cert.pem
        x509.private_key=/c/key.pem
        x509.pq.certificate=/c/pq.pem
        x509.pq.private_key=/c/pqkey.pem

        [authenticate.server]
        x509.truststore=/s/trust.pem
        x509.crl=/s/crl.pem
        x509.certificate=/s/cert.pem
        x509.private_key=pkcs11:token=t;object=k;pin-value=1234

        [listener]
        family=18
        level=300
        key_update_lifetime=3600

        """

    static let oldSettings =
        "\u{FEFF}; from long ago\r\n[main]\r\ndebug=1\r\ntlsdebug = 2 # loud\r\nkeyrings=ä\\;b;\\s\\\\;c\r\n"
        + "[authentication]\r\nkeyrings=d\r\n[x]\r\ny=z\r\n"

    static let profileSettings = """
        [namespaces]
        named=yes
        names=/run/netns/blue; /srv/ns/red;green;
        processes=1
        initial=no
        default_profile=true

        [profile blue server]
        match.namespace=blue
        match.role=server
        match.peer_name=*.blue.example
        match.peer_address=192.0.2.0/24
        match.local_port=2049
        match.transport=netlink
        x509.truststore=/b/ca.pem
        x509.certificate=/b/cert.pem
        x509.private_key=/b/key.pem
        keyrings=blue;77

        [profile rest]
        x509.truststore=/r/ca.pem

        """

    static let key32 = "d26bdac830301a578e40c2f09305bc95ef326196e8a79ca695286a7019d31dc7"
    static let key48 = key32 + "000102030405060708090a0b0c0d0e0f"

    static let pskFile = """
        # keys of the storage hosts
        NVMe0R01 nqn.2014-08.org.nvmexpress:uuid:36ebf5a9 nqn.io:sub1:\(key32)
        NVMe1R02 nqn.host nqn.sub S6ifP3aAyxqNVA2IiUBEU1fSRtcxF9Zs/+gTJA==:\(key48)

        #6e71:\(key32)
        backup:\(key32.uppercased())

        """
}

/// A text that a parser refuses, and where and why.
struct Refused<Problem: Sendable>: CustomTestStringConvertible, Sendable {
    let testDescription: String
    let text: String
    let line: Int
    let column: Int
    let problem: Problem

    init(_ testDescription: String, _ text: String, _ line: Int, _ column: Int, _ problem: Problem) {
        self.testDescription = testDescription
        self.text = text
        self.line = line
        self.column = column
        self.problem = problem
    }

    /// Expects `read` to refuse it, with this place in the file `f`.
    func expectRefusal(_ wrap: (Problem) -> SettingsError.Problem, _ read: (String) throws -> Void) {
        let expected = SettingsError(file: "f", line: line, column: column, problem: wrap(problem))
        #expect(throws: expected) { try read(text) }
        #expect(!expected.what.isEmpty && !expected.remedy.isEmpty)
    }
}
