// Permit tables of the broker and the signer; docs/broker-protocol.md.

extension SignerOrder {
    package typealias Opposite = SignerReport
    package typealias State = ConfinedState
    package static let firstState = State.beforeSetUp

    package static let permits: [Permit<SignerOrder>] = [
        Permit(.setUp, in: [.beforeSetUp], then: .serving, limit: MessageLimit.short, .once),
        Permit(.load, in: [.serving], descriptors: .onePerFile(limit: MessageLimit.signerParts)),
        Permit(.release, in: [.serving], limit: MessageLimit.short),
        Permit(.hold, in: [.serving]),
        Permit(.forget, in: [.serving], limit: MessageLimit.short),
        Permit(.connect, in: [.serving], descriptors: .exactly(1), limit: MessageLimit.short),
        Permit(.ping, in: [.serving], limit: MessageLimit.short),
    ]

    package var reference: MessageReference {
        if case .load(let keys) = self { .credentials(keys.owner, generation: keys.generation) } else { .none }
    }

    package var fileCount: Int {
        if case .load(let keys) = self { keys.parts.filter(\.bringsDescriptor).count } else { 0 }
    }
}

extension SignerReport {
    package typealias Opposite = SignerOrder
    package typealias State = ProcessState
    package static let firstState = State.starting

    package static let permits: [Permit<SignerReport>] = [
        Permit(.ready, in: [.starting], then: .ready, .once),
        Permit(.loaded, in: [.ready], .answer([.load], inOrder: true)),
        Permit(.alive, in: [.ready], limit: MessageLimit.short, .answer([.ping], inOrder: true)),
        Permit(.misbehaved, in: [.ready]),
    ]

    package var reference: MessageReference {
        if case .loaded(let verdict) = self {
            .credentials(verdict.owner, generation: verdict.generation)
        } else {
            .none
        }
    }
}
