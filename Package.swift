// swift-tools-version: 6.2.3
import PackageDescription

// One settings list for all Swift targets: language mode 6, every unsafe line marked, warnings are errors.
let swift: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .strictMemorySafety(),
    .treatAllWarnings(as: .error),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    // @_lifetime of an `inout` span beside another span. Swift 6.3 infers it, 6.2 does not.
    .enableExperimentalFeature("Lifetimes"),
]
let c: [CSetting] = [.define("_GNU_SOURCE"), .treatAllWarnings(as: .error)]

// Dependency direction: executables -> Broker | Worker | Signer -> Upcall, Inspect, TLS, PrivateKeys -> X509,
// Unconfined -> System -> pure -> nothing. A binary holds the whole of each target that it is linked with. So a target
// is what the same processes use; docs/decisions/0091-linked-is-what-is-used.md. The broker does not link GnuTLS, the
// worker does not parse settings; `make check` proves all of it.

// A fuzz target per parser; only with TLSHD_FUZZ set, since libFuzzer brings its own main. `.ci/fuzz` builds and runs
// them.
func fuzz(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .executableTarget(
        name: name, dependencies: dependencies, path: "Tests/Fuzz/\(name)",
        swiftSettings: swift + [.unsafeFlags(["-parse-as-library"])])
}
let fuzzTargets: [Target] =
    Context.environment["TLSHD_FUZZ"] == nil
    ? []
    : [
        fuzz("FuzzSettings", ["Settings"]),
        fuzz("FuzzNetlink", ["KernelWire", "Policy", "Wire", "Handshake"]),
        fuzz("FuzzMessages", ["SigningWire", "Wire", "Handshake"]),
        fuzz("FuzzKeys", ["KernelWire", "TLSWire"]),
        fuzz("FuzzHello", ["TLSWire", "SigningWire", "Handshake"]),
        fuzz("FuzzTags", ["Settings", "Handshake"]),
        fuzz("FuzzProbe", ["InspectWire"]),
        fuzz("FuzzControl", ["Control", "Handshake"]),
        fuzz("FuzzPEM", ["TLSWire", "Policy", "Wire"]),
        fuzz("FuzzWorker", ["Stranger"]),
    ]

let package = Package(
    name: "tlshd",
    products: [
        .executable(name: "tlshd", targets: ["tlshd"]),
        .executable(name: "tlshd-worker", targets: ["tlshd-worker"]),
        .executable(name: "tlshd-signer", targets: ["tlshd-signer"]),
        .executable(name: "tlshctl", targets: ["tlshctl"]),
    ],
    dependencies: [
        // tlshctl alone uses it; the daemons have no third-party Swift code.
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2")
    ],
    targets: [
        .target(name: "CLinux", cSettings: c),
        .systemLibrary(
            name: "CNetlink", pkgConfig: "libnl-genl-3.0",
            providers: [.apt(["libnl-3-dev", "libnl-genl-3-dev"])]),
        .target(name: "CGnuTLS", dependencies: ["CLinux"], cSettings: c, linkerSettings: [.linkedLibrary("gnutls")]),

        .target(name: "Handshake", swiftSettings: swift),
        .target(name: "Wire", dependencies: ["Handshake"], swiftSettings: swift),
        .target(name: "Policy", dependencies: ["Wire", "Handshake"], swiftSettings: swift),
        .target(name: "KernelWire", dependencies: ["Policy", "Wire", "Handshake"], swiftSettings: swift),
        .target(name: "SigningWire", dependencies: ["Wire", "Handshake"], swiftSettings: swift),
        .target(name: "TLSWire", dependencies: ["Wire", "Handshake"], swiftSettings: swift),
        .target(name: "InspectWire", dependencies: ["Wire"], swiftSettings: swift),
        .target(name: "Settings", dependencies: ["Policy", "Handshake"], swiftSettings: swift),
        .target(name: "Control", dependencies: ["Policy", "Handshake"], swiftSettings: swift),

        .target(
            name: "System", dependencies: ["CLinux", "Handshake", "Wire"], swiftSettings: swift),
        .target(
            name: "Unconfined", dependencies: ["CLinux", "System", "Policy", "Wire", "Handshake"],
            swiftSettings: swift),
        .systemLibrary(name: "CKeyutils", providers: [.apt(["libkeyutils-dev"])]),
        .target(
            name: "Keyrings",
            dependencies: ["CKeyutils", "Unconfined", "System", "KernelWire", "Policy", "Wire", "Handshake"],
            swiftSettings: swift),
        .target(
            name: "Upcall",
            dependencies: ["CNetlink", "Unconfined", "System", "KernelWire", "Policy", "Wire", "Handshake"],
            swiftSettings: swift),
        .target(
            name: "X509", dependencies: ["CGnuTLS", "System", "SigningWire", "Handshake"], swiftSettings: swift),
        .target(
            name: "PrivateKeys", dependencies: ["CGnuTLS", "X509", "System", "SigningWire", "Handshake"],
            swiftSettings: swift),
        .target(
            name: "TLS",
            dependencies: ["CGnuTLS", "X509", "System", "TLSWire", "SigningWire", "Wire", "Handshake"],
            swiftSettings: swift),
        .target(
            name: "Inspect",
            dependencies: [
                "CGnuTLS", "TLS", "PrivateKeys", "X509", "System", "Settings", "TLSWire", "SigningWire", "Wire",
                "Handshake",
            ],
            swiftSettings: swift),

        .systemLibrary(name: "CSeccomp", providers: [.apt(["libseccomp-dev"])]),
        .target(name: "Sandbox", dependencies: ["CSeccomp", "CLinux", "System", "Wire"], swiftSettings: swift),
        .target(
            name: "Confined", dependencies: ["Sandbox", "X509", "System", "Wire", "Handshake"], swiftSettings: swift),

        .target(
            name: "Broker",
            dependencies: [
                "Upcall", "Keyrings", "Unconfined", "System", "Settings", "Control", "KernelWire", "Policy", "Wire",
                "Handshake",
            ],
            swiftSettings: swift),
        .target(
            name: "Worker",
            dependencies: [
                "Confined", "TLS", "X509", "Sandbox", "System", "SigningWire", "Wire", "Handshake",
            ],
            swiftSettings: swift),
        .target(
            name: "Signer",
            dependencies: [
                "Confined", "PrivateKeys", "X509", "Sandbox", "System", "SigningWire", "Wire", "Handshake",
            ],
            swiftSettings: swift),
        .executableTarget(
            name: "tlshd", dependencies: ["Broker", "Unconfined", "System", "Settings", "Handshake"],
            swiftSettings: swift),
        .executableTarget(name: "tlshd-worker", dependencies: ["Worker"], swiftSettings: swift),
        .executableTarget(name: "tlshd-signer", dependencies: ["Signer"], swiftSettings: swift),
        .executableTarget(
            name: "tlshctl",
            dependencies: [
                "Broker", "Inspect", "TLS", "X509", "Upcall", "Keyrings", "Unconfined", "System", "Settings", "Control",
                "InspectWire", "TLSWire", "KernelWire", "Policy", "Wire", "Handshake",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: swift),

        // Benchmarks: the bare library, as a program for the guests and as what our engine is measured against.
        .target(
            name: "CBareLoop", path: "Tests/Benchmarks/Bare", cSettings: c, linkerSettings: [.linkedLibrary("gnutls")]),
        .executableTarget(name: "limit", dependencies: ["CBareLoop"], path: "Tests/Benchmarks/Limit", cSettings: c),
        .executableTarget(
            name: "HostBenchmark",
            dependencies: ["CBareLoop", "Inspect", "TLS", "X509", "Unconfined", "System", "Wire", "Handshake"],
            path: "Tests/Benchmarks/Host", swiftSettings: swift),

        // The broker in a made-up world; `make simulate`.
        .target(
            name: "SimulatedHost",
            dependencies: [
                "Broker", "CLinux", "Upcall", "Keyrings", "Unconfined", "System", "Settings", "KernelWire", "Policy",
                "Wire",
                "Handshake",
            ],
            path: "Tests/Simulation/Host", swiftSettings: swift),
        .executableTarget(
            name: "Simulation", dependencies: ["SimulatedHost"], path: "Tests/Simulation/Program",
            swiftSettings: swift),
        .testTarget(name: "SimulationTests", dependencies: ["TestSupport", "Simulation"], swiftSettings: swift),

        // A worker in the process, and a peer that does what a fuzzer's input says. The program runs inputs that were
        // kept, and makes the seeds; docs/decisions/0096.
        .target(
            name: "CStranger", path: "Tests/Fuzz/CStranger", cSettings: c,
            linkerSettings: [
                .linkedLibrary("gnutls"), .linkedLibrary("hogweed"), .linkedLibrary("nettle"), .linkedLibrary("gmp"),
            ]),
        .target(
            name: "Stranger",
            dependencies: [
                "CStranger", "Worker", "X509", "System", "SigningWire", "Policy", "Wire", "Handshake",
            ],
            path: "Tests/Fuzz/Stranger", swiftSettings: swift),
        .executableTarget(
            name: "FuzzReplay", dependencies: ["Stranger", "Handshake"], path: "Tests/Fuzz/Replay", swiftSettings: swift
        ),
        .target(name: "TestSupport", dependencies: ["System"], path: "Tests/Support", swiftSettings: swift),
        // Runs code inside the worker's sandbox: a unit test's, and a VM case's.
        .target(name: "CAttempts", path: "Tests/SandboxProbe/CAttempts", cSettings: c),
        .executableTarget(
            name: "SandboxProbe", dependencies: ["CAttempts", "Sandbox", "System", "Wire"],
            path: "Tests/SandboxProbe/Probe",
            swiftSettings: swift),
        .testTarget(
            name: "SandboxTests", dependencies: ["Sandbox", "Unconfined", "System", "TestSupport", "SandboxProbe"],
            swiftSettings: swift),
        // A worker that does what the protocol does not permit.
        .executableTarget(
            name: "HostileWorker", dependencies: ["System", "SigningWire", "Wire", "Handshake"],
            path: "Tests/HostileWorker",
            swiftSettings: swift),
        // What the signer costs a handshake; `make bench`.
        .executableTarget(
            name: "SignerCost",
            dependencies: [
                "Inspect", "TLS", "X509", "CGnuTLS", "Unconfined", "System", "SigningWire", "Wire",
                "Handshake",
            ],
            path: "Tests/Benchmarks/Signer", swiftSettings: swift),
        .testTarget(
            name: "HandshakeTests", dependencies: ["TestSupport", "Policy", "Handshake"], swiftSettings: swift),
        .testTarget(
            name: "WireTests",
            dependencies: ["KernelWire", "InspectWire", "TLSWire", "SigningWire", "Policy", "Wire", "Handshake"],
            swiftSettings: swift),
        .testTarget(
            name: "SettingsTests", dependencies: ["TestSupport", "Settings", "Policy", "Wire", "Handshake"],
            swiftSettings: swift),
        .testTarget(
            name: "SystemTests",
            dependencies: ["TestSupport", "Unconfined", "System", "CLinux", "Wire", "Handshake"],
            swiftSettings: swift),
        .testTarget(
            name: "KeyringsTests",
            dependencies: [
                "TestSupport", "Keyrings", "CKeyutils", "Unconfined", "System", "KernelWire", "Policy", "Wire",
                "Handshake",
            ],
            swiftSettings: swift),
        .testTarget(
            name: "UpcallTests",
            dependencies: [
                "TestSupport", "Upcall", "Unconfined", "System", "KernelWire", "Policy", "Wire", "Handshake",
            ],
            swiftSettings: swift),
        .testTarget(
            name: "InteropTests",
            dependencies: [
                "TestSupport", "Inspect", "PrivateKeys", "TLS", "X509", "CGnuTLS", "CLinux", "Unconfined", "System",
                "TLSWire", "SigningWire", "Policy", "Wire", "Handshake", "tlshd-worker", "tlshd-signer",
            ],
            path: "Tests/Interop", swiftSettings: swift),
        // It runs FuzzReplay without depending on it: what that puts in place of the C library's functions must not be
        // linked into the tests.
        .testTarget(
            name: "WorkerTests", dependencies: ["TestSupport", "Worker", "TLS", "Wire"], swiftSettings: swift),
        .testTarget(
            name: "TLSHCtlTests",
            dependencies: [
                "TestSupport", "tlshctl", "tlshd", "tlshd-worker", "tlshd-signer", "Control", "X509", "Unconfined",
                "System", "Policy", "Handshake",
            ],
            swiftSettings: swift),
        .testTarget(
            name: "ControlTests", dependencies: ["TestSupport", "Control", "Policy", "Handshake"], swiftSettings: swift),
        .testTarget(
            name: "BrokerTests",
            dependencies: [
                "TestSupport", "Broker", "Upcall", "Keyrings", "Unconfined", "System", "Settings", "Control",
                "KernelWire", "Policy", "Wire", "Handshake", "CKeyutils", "Worker", "Signer", "X509",
                "tlshd-worker", "tlshd-signer", "HostileWorker",
            ],
            swiftSettings: swift),
    ] + fuzzTargets
)
