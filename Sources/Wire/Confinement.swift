/// The layers that confine a process, as it reports them with `ready`.
package struct Confinement: MessageFields, Sendable, Equatable {
    /// Those that hold, such as `seccomp`.
    package private(set) var layers: [String] = []
    /// Those that are missing, with the reason.
    package private(set) var lacking: [String] = []

    private static let most = 16

    package init() {}

    /// Adds a layer that holds, in words of its own.
    package mutating func has(_ layer: String) { layers.append(MessageText.fit(layer)) }

    /// Adds a layer that is missing.
    package mutating func lacks(_ layer: String) { lacking.append(MessageText.fit(layer)) }

    /// Adds the label of the process in the security module of the host; `nil` for none.
    package mutating func note(label: String?) {
        if let label { has("label \(label)") } else { lacks("it has no AppArmor profile or SELinux domain") }
    }

    package mutating func code(_ coder: inout MessageCoder, in bytes: inout MutableSpan<UInt8>) throws(WireError) {
        let each = MessageLimit.text
        try coder.texts("number of layers", "layer", &layers, limit: Self.most, each: each, in: &bytes)
        try coder.texts("number of missing layers", "missing layer", &lacking, limit: Self.most, each: each, in: &bytes)
    }
}
