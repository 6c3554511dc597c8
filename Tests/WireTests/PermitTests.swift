import Foundation
import Handshake
import SigningWire
import Testing
import Wire

/// A permit table, with what the tests need of its type.
struct PermitTable: Sendable, CustomTestStringConvertible {
    /// Such as `BrokerMessage`; the table's marker in docs/broker-protocol.md.
    let testDescription: String
    let text: String
    /// Sends every message in every state, and returns where it went otherwise than the table says.
    let surprises: @Sendable () -> [String]

    /// - Parameter question: makes the message that a message answers, or is about.
    init<Message: ChannelMessage>(
        _ samples: [(String, Message)], from sender: String,
        question: @escaping @Sendable (Message) -> Message.Opposite? = { _ in nil }
    ) {
        testDescription = "\(Message.self)"
        let trial = Trial(samples: samples.map(\.1), question: question)
        surprises = { trial.surprises() }
        text = Self.markdown(samples, sender)
    }

    static let all = [
        PermitTable(Samples.broker, from: "broker"),
        PermitTable(Samples.worker, from: "worker") { message in
            switch message {
            case .configured(let verdict):
                let owner = verdict.owner
                return .credentials(
                    RoleCredentials(profile: owner.profile, role: owner.role, generation: verdict.generation))
            case .result(let job, _), .heard(let job): return .handshake(HandshakeJob(id: job))
            case .ready, .log: return nil
            }
        },
        PermitTable(Samples.keyLookups, from: "worker"),
        PermitTable(Samples.keyAnswers, from: "broker") { _ in Samples.keyLookups[0].1 },
        PermitTable(Samples.orders, from: "broker"),
        PermitTable(Samples.reports, from: "signer") { message in
            switch message {
            case .loaded(let verdict): .load(SignerKeys(owner: verdict.owner, generation: verdict.generation))
            case .alive: .ping
            case .ready, .misbehaved, .signed: nil
            }
        },
        PermitTable(Samples.questions, from: "worker"),
        PermitTable(Samples.answers, from: "signer") { answer in
            if case .signature = answer { Samples.questions[0].1 } else { Samples.questions[1].1 }
        },
    ]

    private static func markdown<Message: ChannelMessage>(_ samples: [(String, Message)], _ sender: String) -> String {
        var rows = [
            "| message | from | state of the receiver | how often | descriptors | bytes | fields |",
            "| --- | --- | --- | --- | --- | --- | --- |",
        ]
        for permit in Message.permits {
            let states = permit.states.map { "\"\($0.rawValue)\"" }.joined(separator: ", ")
            let next = permit.next.map { permit.states == [$0] ? "" : ", then \"\($0.rawValue)\"" } ?? ""
            let number = Message.self == KeyLookup.self ? "" : " (\(permit.kind.rawValue))"
            rows.append(
                "| `\(permit.kind)`\(number) | \(sender) | \(states)\(next) | "
                    + "\(describe(permit.occurrence)) | \(describe(permit.descriptors)) | \(permit.limit) | "
                    + "\(fields(of: samples.map(\.1).filter { $0.kind == permit.kind })) |")
        }
        return rows.joined(separator: "\n")
    }

    private static func describe<Message: ChannelMessage>(_ occurrence: Permit<Message>.Occurrence) -> String {
        func names(_ kinds: [Message.Opposite.Kind]) -> String {
            kinds.map { "`\($0)`" }.joined(separator: " or ")
        }
        return switch occurrence {
        case .any: "any number"
        case .once: "once"
        case .answer(let kinds, inOrder: true): "once for each \(names(kinds)), in their order"
        case .answer(let kinds, inOrder: false): "once for each \(names(kinds))"
        case .notice(let kinds): "at most once for each \(names(kinds)) that is not answered"
        }
    }

    private static func describe<Message>(_ count: Permit<Message>.DescriptorCount) -> String {
        switch count {
        case .exactly(let count): "\(count)"
        case .onePerFile(let limit): "one per file, at most \(limit)"
        }
    }

    /// Names of the fields in their order: those at which reading stops when a sample is cut off.
    private static func fields<Message: ChannelMessage>(of samples: [Message]) -> String {
        var names: [String] = []
        for sample in samples {
            guard let whole = try? written(sample).bytes else { continue }
            for length in whole.indices {
                do throws(WireError) {
                    let _: Message = try read(Array(whole.prefix(length)))
                } catch {
                    guard case .truncated(let field, let offset) = error, offset > 0 || Message.self == KeyLookup.self,
                        !names.contains(field)
                    else { continue }
                    names.append(field)
                }
            }
        }
        return names.joined(separator: ", ")
    }
}

/// Sends messages to a conversation.
private struct Trial<Message: ChannelMessage>: Sendable {
    let samples: [Message]
    let question: @Sendable (Message) -> Message.Opposite?

    /// A conversation in a state, to which what the message answers has been sent.
    private func conversation(_ state: Message.State, expecting message: Message) -> Conversation<Message> {
        var conversation = Conversation<Message>(in: state)
        if let question = question(message) { conversation.note(sent: question) }
        return conversation
    }

    private func permit(of message: Message) -> Permit<Message>? {
        Message.permits.first { $0.kind == message.kind }
    }

    private func isTaken(
        _ message: Message, by conversation: inout Conversation<Message>, excess: Int = 0, descriptors: Int? = nil
    ) -> Bool {
        guard var bytes = try? written(message).bytes, let permit = permit(of: message) else { return false }
        if excess > 0 { bytes += Array(repeating: 0, count: permit.limit + excess - bytes.count) }
        let length = bytes.count, descriptors = descriptors ?? message.descriptorCount
        var span = bytes.mutableSpan
        let received = try? conversation.receive(&span, length: length, descriptors: descriptors)
        return received != nil
    }

    func surprises() -> [String] {
        var surprises: [String] = []
        func expect(_ isRight: Bool, _ text: String) { if !isRight { surprises.append(text) } }
        for kind in Message.Kind.allCases {
            expect(Message.permits.filter { $0.kind == kind }.count == 1, "\(kind) has not exactly one row")
            expect(samples.contains { $0.kind == kind }, "\(kind) has no sample")
        }
        for message in samples {
            guard let permit = permit(of: message) else { continue }
            let isAnswer: Bool
            let comesOnce: Bool
            switch permit.occurrence {
            case .any: (isAnswer, comesOnce) = (false, false)
            case .once: (isAnswer, comesOnce) = (false, true)
            case .answer, .notice: (isAnswer, comesOnce) = (true, true)
            }
            for state in Message.State.allCases {
                let name = "\(message.kind) in the state \(state.rawValue)"
                var conversation = conversation(state, expecting: message)
                let isPermitted = permit.states.contains(state)
                expect(isTaken(message, by: &conversation) == isPermitted, name)
                expect(conversation.state == (isPermitted ? permit.next ?? state : state), "\(name): next state")
                guard isPermitted else { continue }
                let isPermittedAgain = !comesOnce && permit.states.contains(conversation.state)
                expect(isTaken(message, by: &conversation) == isPermittedAgain, "\(name): again")
                if isAnswer {
                    var other = Conversation<Message>(in: state)
                    expect(!isTaken(message, by: &other), "\(name): without a question")
                }
                for count in 0...4 where count != message.descriptorCount {
                    var other = self.conversation(state, expecting: message)
                    expect(!isTaken(message, by: &other, descriptors: count), "\(name): \(count) descriptors")
                }
                var other = self.conversation(state, expecting: message)
                expect(!isTaken(message, by: &other, excess: 1), "\(name): one byte more than the limit")
            }
        }
        return surprises
    }
}

@Suite("Permit tables", .serialized)
struct PermitTests {
    @Test("every message in every state is taken or refused as the table says", arguments: PermitTable.all)
    func everyMessage(table: PermitTable) {
        #expect(table.surprises() == [])
    }

    @Test("docs/broker-protocol.md has the tables", arguments: PermitTable.all)
    func documented(table: PermitTable) throws {
        let page = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../docs/broker-protocol.md")
        let text = try String(contentsOf: page, encoding: .utf8)
        let start = "<!-- table \(table.testDescription) -->\n", end = "\n<!-- end -->"
        let head = try #require(text.range(of: start), "no table \(table.testDescription)")
        let tail = try #require(text.range(of: end, range: head.upperBound..<text.endIndex))
        let present = head.upperBound..<tail.lowerBound
        if ProcessInfo.processInfo.environment["TLSHD_RECORD"] != nil {
            try text.replacingCharacters(in: present, with: table.text).write(
                to: page, atomically: true, encoding: .utf8)
        } else {
            #expect(text[present] == table.text, "remedy: TLSHD_RECORD=1 swift test --filter PermitTests")
        }
    }

    @Test("answers come in the order of the questions where the table says so, others by their references")
    func order() throws {
        func credentials(_ generation: UInt32) -> BrokerMessage {
            .credentials(RoleCredentials(role: .client, generation: generation))
        }
        func configured(_ generation: UInt32) -> WorkerMessage {
            .configured(CredentialsVerdict(owner: CredentialsOwner(.standard, .client), generation: generation))
        }
        func result(_ job: UInt64) -> WorkerMessage {
            .result(job: job, HandshakeResult(outcome: .failure(HandshakeFailure(.deadlineExceeded))))
        }
        var conversation = Conversation<WorkerMessage>(in: .ready)
        func receive(_ message: WorkerMessage) throws {
            var bytes = try written(message).bytes
            let length = bytes.count
            var span = bytes.mutableSpan
            _ = try conversation.receive(&span, length: length, descriptors: 0)
        }
        for generation in 1...2 as ClosedRange<UInt32> { conversation.note(sent: credentials(generation)) }
        for job in 1...3 as ClosedRange<UInt64> { conversation.note(sent: .handshake(HandshakeJob(id: job))) }
        #expect(throws: ChannelFault.self) { try receive(configured(2)) }
        for generation in 1...2 as ClosedRange<UInt32> { try receive(configured(generation)) }
        try receive(result(2))
        #expect(throws: ChannelFault.self) { try receive(.heard(job: 2)) }
        try receive(.heard(job: 3))
        for job in [3, 1] as [UInt64] { try receive(result(job)) }
        #expect(throws: ChannelFault.self) { try receive(result(3)) }
        #expect(conversation.oldestUnanswered(.handshake) == nil && conversation.oldestUnanswered(.credentials) == nil)
    }

    @Test("a violation names the message and the state")
    func text() throws {
        var conversation = Conversation<WorkerMessage>()
        var bytes = try written(WorkerMessage.heard(job: 7)).bytes
        var span = bytes.mutableSpan
        let error = #expect(throws: ChannelFault.self) {
            try conversation.receive(&span, length: 9, descriptors: 0)
        }
        #expect(error == .brokeProtocol("heard is not permitted in the state \"starting\""))
    }
}
