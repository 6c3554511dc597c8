internal import Handshake

/// Handshakes to begin with, by the names of their files in the corpus.
package enum Seeds {
    package static let all: [(name: String, plan: Plan)] = {
        var seeds: [(String, Plan)] = []
        func add(_ name: String, _ change: (inout Plan) -> Void) {
            var plan = Plan()
            change(&plan)
            seeds.append((name, plan))
        }
        for suite in 0..<3 as Range<UInt16> {
            for group in 0..<3 {
                add("server-\(suite)-\(group)") {
                    $0.suite += suite
                    $0.group = Plan.Group.all[group]
                    $0.certificate = group == 1 ? .trustedCurve : .trusted
                    $0.sendsData = suite == 1
                }
            }
            add("client-\(suite)") {
                $0.role = .client
                $0.suite += suite
                $0.asksForCertificate = suite != 1
                $0.certificate = suite == 2 ? .trustedCurve : .trusted
                $0.tickets = Int(suite)
                $0.sendsData = true
                $0.isEarly = suite == 1
            }
        }
        add("server-anonymous") { $0.certificate = .none }
        add("server-named") {
            $0.namesClient = true
            $0.offersProtocol = true
            $0.limitsRecords = true
            $0.modulus = 512
        }
        add("server-retry") { $0.retries = true }
        add("server-key") { $0.authentication = .preSharedKey }
        add("server-key-retry") {
            $0.authentication = .preSharedKey
            $0.retries = true
        }
        add("server-wrong-key") {
            $0.authentication = .preSharedKey
            $0.usesWrongKey = true
        }
        add("server-keeps") {
            $0.keeps = true
            $0.sendsData = true
        }
        add("server-in-portions") {
            $0.portion = 64
            $0.sendsChangeCipherSpec = true
        }
        add("server-stranger") { $0.certificate = .stranger }
        add("server-borrowed") { $0.certificate = .borrowed }
        add("server-rsa") {
            $0.certificate = .rsa
            $0.modulus = 256
        }
        add("server-chain") {
            $0.certificate = .chain
            $0.modulus = 32
        }
        add("server-bytewise") {
            $0.certificate = .chain
            $0.modulus = 4096
            $0.portion = 1
        }
        add("server-raw") { $0.raw = Array("GET / HTTP/1.1\r\n\r\n".utf8) }
        add("server-silent") {
            $0.raw = [22, 3, 1, 2, 0, 1, 0]
            $0.ending = .silence
        }
        add("client-key") {
            $0.role = .client
            $0.authentication = .preSharedKey
            $0.tickets = 1
        }
        add("client-wrong-key") {
            $0.role = .client
            $0.authentication = .preSharedKey
            $0.usesWrongKey = true
        }
        add("client-anonymous") {
            $0.role = .client
            $0.authentication = .unauthenticated
        }
        add("client-retry-group") {
            $0.role = .client
            $0.retries = true
        }
        add("client-retry-cookie") {
            $0.role = .client
            $0.retries = true
            $0.group = Plan.Group.all[2]
            $0.sendsCookie = true
        }
        add("client-updates") {
            $0.role = .client
            $0.asksForCertificate = true
            $0.updatesKey = true
            $0.tickets = 1
            $0.sendsData = true
        }
        add("client-keeps") {
            $0.role = .client
            $0.keeps = true
            $0.offersProtocol = true
            $0.limitsRecords = true
            $0.modulus = 1024
        }
        add("client-refused") {
            $0.role = .client
            $0.asksForCertificate = true
            $0.bends = [.init(kind: .recordBefore, message: 5, offset: 0, value: 21, bytes: [2, 48])]
            $0.tickets = 1
        }
        add("client-stranger") {
            $0.role = .client
            $0.certificate = .stranger
        }
        add("client-cancelled") {
            $0.role = .client
            $0.bends = [.init(kind: .stop, message: 1, offset: 0, value: 0)]
            $0.ending = .cancel
        }
        // Messages after the handshake; the first ticket is message 5 where no certificate is asked for.
        func addFollowed(_ name: String, _ change: (inout Plan) -> Void) {
            add(name) {
                $0.role = .client
                $0.isEarly = true
                change(&$0)
            }
        }
        addFollowed("client-ticket-in-records") {
            $0.tickets = 1
            $0.updatesKey = true
            $0.bends = [.init(kind: .split, message: 5, offset: 0, value: 4)]
        }
        addFollowed("client-ticket-without-end") {
            $0.tickets = 2
            $0.updatesKey = true
            $0.bends = [.init(kind: .length, message: 5, offset: 18, value: 1)]
        }
        addFollowed("client-data-in-ticket") {
            $0.tickets = 1
            $0.sendsData = true
            $0.bends = [.init(kind: .length, message: 5, offset: 256, value: 0)]
        }
        addFollowed("client-update-not-last") {
            $0.updatesKey = true
            $0.bends = [.init(kind: .fill, message: 5, offset: 8, value: 0, keepsLength: true)]
        }
        addFollowed("client-behind-finished") {
            $0.bends = [.init(kind: .fill, message: 4, offset: 8, value: 0, keepsLength: true)]
        }
        add("server-behind-finished") {
            $0.certificate = .none
            $0.bends = [.init(kind: .fill, message: 2, offset: 8, value: 0, keepsLength: true)]
        }
        // One of each change.
        for (index, kind) in Plan.Bend.Kind.allCases.enumerated() {
            add("bent-\(kind)") {
                $0.role = index % 2 == 0 ? .server : .client
                $0.ending = index % 2 == 0 ? .reset : .close
                $0.bends = [
                    .init(
                        kind: kind, message: index % 4, offset: 40, value: 3,
                        bytes: kind == .recordBefore ? [1, 2] : [5])
                ]
            }
        }
        return seeds
    }()
}
