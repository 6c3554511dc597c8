// Permit tables of the broker and a worker: the control channel and the key channel; docs/broker-protocol.md.

extension BrokerMessage {
    package typealias Opposite = WorkerMessage
    package typealias State = ConfinedState
    package static let firstState = State.beforeSetUp

    package static let permits: [Permit<BrokerMessage>] = [
        Permit(.setUp, in: [.beforeSetUp, .serving], then: .serving, limit: MessageLimit.short),
        Permit(.credentials, in: [.serving], descriptors: .onePerFile(limit: MessageLimit.descriptors)),
        Permit(.withdraw, in: [.serving], limit: MessageLimit.short),
        Permit(.tags, in: [.serving]),
        Permit(.signer, in: [.serving], descriptors: .exactly(1), limit: MessageLimit.short),
        Permit(.handshake, in: [.serving], descriptors: .exactly(1)),
        Permit(.keyUpdate, in: [.serving], descriptors: .exactly(1), limit: MessageLimit.short),
        Permit(.cancel, in: [.serving], limit: MessageLimit.short),
    ]

    package var reference: MessageReference {
        switch self {
        case .credentials(let credentials): .credentials(credentials.owner, generation: credentials.generation)
        case .handshake(let job): .job(job.id)
        case .keyUpdate(let job): .job(job.id)
        case .setUp, .withdraw, .tags, .signer, .cancel: .none
        }
    }

    package var fileCount: Int {
        if case .credentials(let credentials) = self { credentials.files.count } else { 0 }
    }
}

extension WorkerMessage {
    package typealias Opposite = BrokerMessage
    package typealias State = ProcessState
    package static let firstState = State.starting

    package static let permits: [Permit<WorkerMessage>] = [
        Permit(.ready, in: [.starting], then: .ready, .once),
        Permit(.configured, in: [.ready], .answer([.credentials], inOrder: true)),
        Permit(.heard, in: [.ready], limit: MessageLimit.short, .notice([.handshake])),
        Permit(.result, in: [.ready], .answer([.handshake, .keyUpdate], inOrder: false)),
        Permit(.log, in: [.ready]),
    ]

    package var reference: MessageReference {
        switch self {
        case .configured(let verdict): .credentials(verdict.owner, generation: verdict.generation)
        case .result(let job, _), .heard(let job): .job(job)
        case .ready, .log: .none
        }
    }
}

extension KeyLookup {
    package typealias Opposite = KeyAnswer
    package typealias State = OpenState
    package static let firstState = State.open

    package static let permits = [Permit<KeyLookup>(.lookup, in: [.open], limit: MessageLimit.keyMessage)]
}

extension KeyAnswer {
    package typealias Opposite = KeyLookup
    package typealias State = OpenState
    package static let firstState = State.open

    package static let permits: [Permit<KeyAnswer>] = Kind.allCases.map { kind in
        Permit(kind, in: [.open], limit: MessageLimit.keyMessage, .answer([.lookup], inOrder: true))
    }
}
