package import Wire

// Permit tables of a worker and the signer; docs/broker-protocol.md.

extension SigningQuestion {
    package typealias Opposite = SigningAnswer
    package typealias State = OpenState
    package static let firstState = State.open

    package static let permits: [Permit<SigningQuestion>] = Kind.allCases.map { kind in
        Permit(kind, in: [.open], limit: MessageLimit.signingQuestion)
    }
}

extension SigningAnswer {
    package typealias Opposite = SigningQuestion
    package typealias State = OpenState
    package static let firstState = State.open

    package static let permits: [Permit<SigningAnswer>] = [
        Permit(.signature, in: [.open], limit: MessageLimit.signingAnswer, .answer([.sign], inOrder: true)),
        Permit(.publicKey, in: [.open], limit: MessageLimit.signingAnswer, .answer([.describe], inOrder: true)),
        Permit(.refused, in: [.open], limit: MessageLimit.signingAnswer, .answer([.sign, .describe], inOrder: true)),
    ]
}
