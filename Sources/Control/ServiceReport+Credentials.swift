extension ServiceReport {
    /// Credentials of a role in a profile. The name of the default profile is empty.
    package struct Credentials: Codable, Equatable, Sendable {
        package var profile: String
        package var role: String
        /// True if handshakes can be served with these credentials.
        package var inForce: Bool
        /// The workers' description of the credentials in force.
        package var summary: String
        /// Reason why none can be used, or not the newest.
        package var problem: String
        /// Certificates presented to peers, including intermediates; first to expire first.
        package var certificates: [Certificate] = []
        /// Number of authorities in the trust store.
        package var authorities = 0
        /// Number of peers that are identified by the digest of their certificate or key.
        package var pins = 0
        /// `nil` if none is configured.
        package var revocation: Revocation?

        package init(profile: String, role: String, inForce: Bool, summary: String, problem: String) {
            self.profile = profile
            self.role = role
            self.inForce = inForce
            self.summary = summary
            self.problem = problem
        }

        /// Name in the log.
        package var label: String { (profile.isEmpty ? "" : "profile \(profile), ") + role }
    }

    /// A certificate that we present.
    package struct Certificate: Codable, Equatable, Sendable {
        /// Path, or URL on a token.
        package var file: String
        /// RFC 4514 text.
        package var subject: String
        /// RFC 4514 text.
        package var issuer: String
        /// Seconds since 1970-01-01T00:00:00Z.
        package var notAfter: Int
        /// Whole days until expiry; negative after it.
        package var daysLeft = 0

        package init(file: String, subject: String, issuer: String, notAfter: Int) {
            self.file = file
            self.subject = subject
            self.issuer = issuer
            self.notAfter = notAfter
        }
    }

    /// A file of revocation lists.
    package struct Revocation: Codable, Equatable, Sendable {
        package var file: String
        package var lists: Int
        /// Earliest nextUpdate in seconds since 1970-01-01T00:00:00Z; `nil` if no list has one.
        package var nextUpdate: Int?
        /// Whole days until nextUpdate; negative after it.
        package var daysLeft: Int?

        package init(file: String, lists: Int, nextUpdate: Int?) {
            self.file = file
            self.lists = lists
            self.nextUpdate = nextUpdate
        }
    }

    /// Days before expiry of a certificate from which it is reported as a problem.
    package static let warningDays = 14
    /// The same for a revocation list, whose validity is often only days.
    package static let revocationWarningDays = 2
    private static let day = 86_400

    /// Whole days until `time`, an arbitrary number from a worker; -1 on the day after.
    private static func days(until time: Int, from now: Int) -> Int {
        let bound = 1 << 60
        let left = max(-bound, min(time, bound)) - now
        return (left >= 0 ? left : left - day + 1) / day
    }

    mutating func countDays(now: Int) {
        for index in credentials.indices {
            let next = credentials[index].revocation?.nextUpdate
            credentials[index].revocation?.daysLeft = next.map { Self.days(until: $0, from: now) }
            for place in credentials[index].certificates.indices {
                let time = credentials[index].certificates[place].notAfter
                credentials[index].certificates[place].daysLeft = Self.days(until: time, from: now)
            }
        }
    }

    /// Expired items, and items that expire soon, worst first. Call it after `countDays`.
    var expiries: (past: [Problem], soon: [Problem]) {
        var found: [(daysLeft: Int, problem: Problem)] = []
        for entry in credentials where entry.inForce {
            for certificate in entry.certificates where certificate.daysLeft <= Self.warningDays {
                let when = Self.when(certificate.daysLeft, past: "expired", coming: "expires")
                let what = "\(entry.label): certificate \(certificate.subject) of \(certificate.file)"
                found.append((certificate.daysLeft, Problem("\(what) \(when); remedy: renew it")))
            }
            guard let revocation = entry.revocation, let left = revocation.daysLeft, left <= Self.revocationWarningDays
            else { continue }
            let when = Self.when(left, past: "expired", coming: "expires")
            let consequence = left < 0 ? ", peers of its issuer are refused" : ""
            let what = "\(entry.label): revocation list \(revocation.file)"
            found.append((left, Problem("\(what) \(when)\(consequence); remedy: renew the file")))
        }
        found.sort { $0.daysLeft < $1.daysLeft }
        return (found.filter { $0.daysLeft < 0 }.map(\.problem), found.filter { $0.daysLeft >= 0 }.map(\.problem))
    }

    private static func when(_ daysLeft: Int, past: String, coming: String) -> String {
        func days(_ count: Int) -> String { count == 0 ? "less than a day" : count == 1 ? "1 day" : "\(count) days" }
        return daysLeft < 0 ? "\(past) \(days(-1 - daysLeft)) ago" : "\(coming) in \(days(daysLeft))"
    }
}

extension ServiceReport.Credentials {
    var json: JSON {
        .object([
            ("profile", .text(profile)), ("role", .text(role)), ("inForce", .flag(inForce)),
            ("summary", .text(summary)), ("problem", .text(problem)), ("certificates", .list(certificates.map(\.json))),
            ("authorities", .number(authorities)), ("pins", .number(pins)),
            ("revocation", revocation?.json ?? .null),
        ])
    }
}

extension ServiceReport.Certificate {
    fileprivate var json: JSON {
        .object([
            ("file", .text(file)), ("subject", .text(subject)), ("issuer", .text(issuer)),
            ("notAfter", .number(notAfter)), ("daysLeft", .number(daysLeft)),
        ])
    }
}

extension ServiceReport.Revocation {
    fileprivate var json: JSON {
        .object([
            ("file", .text(file)), ("lists", .number(lists)), ("nextUpdate", nextUpdate.map { .number($0) } ?? .null),
            ("daysLeft", daysLeft.map { .number($0) } ?? .null),
        ])
    }
}
