// swift-tools-version: 6.2
import PackageDescription

// One settings list for all Swift targets: language mode 6, every unsafe line marked, warnings are errors.
let swift: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .strictMemorySafety(),
    .treatAllWarnings(as: .error),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
]
let c: [CSetting] = [.define("_GNU_SOURCE"), .treatAllWarnings(as: .error)]

// Dependency direction: executables -> Broker | Worker | Signer -> Upcall, TLS -> System -> pure -> nothing.
// The broker does not link GnuTLS, the worker does not parse settings; `make check` proves both.

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
        fuzz("FuzzNetlink", ["Wire", "Handshake"]),
        fuzz("FuzzMessages", ["Wire", "Handshake"]),
        fuzz("FuzzKeys", ["Wire", "Handshake"]),
        fuzz("FuzzHello", ["Wire", "Handshake"]),
        fuzz("FuzzTags", ["Settings", "Handshake"]),
        fuzz("FuzzProbe", ["Wire", "Handshake"]),
        fuzz("FuzzControl", ["Control", "Handshake"]),
        fuzz("FuzzPEM", ["Wire", "Handshake"]),
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
        .target(name: "Settings", dependencies: ["Handshake"], swiftSettings: swift),
        .target(name: "Control", dependencies: ["Handshake"], swiftSettings: swift),

        .target(
            name: "System", dependencies: ["CLinux", "Handshake", "Wire"], swiftSettings: swift),
        .systemLibrary(name: "CKeyutils", providers: [.apt(["libkeyutils-dev"])]),
        .target(
            name: "Keyrings", dependencies: ["CKeyutils", "System", "Wire", "Handshake"], swiftSettings: swift),
        .target(
            name: "Upcall", dependencies: ["CNetlink", "CLinux", "System", "Wire", "Handshake"], swiftSettings: swift),
        .target(name: "TLS", dependencies: ["CGnuTLS", "CLinux", "System", "Wire", "Handshake"], swiftSettings: swift),

        .systemLibrary(name: "CSeccomp", providers: [.apt(["libseccomp-dev"])]),
        .target(name: "Sandbox", dependencies: ["CSeccomp", "CLinux", "System"], swiftSettings: swift),
        .target(name: "Confined", dependencies: ["Sandbox", "TLS", "System", "Wire"], swiftSettings: swift),

        .target(
            name: "Broker", dependencies: ["Upcall", "Keyrings", "System", "Settings", "Control", "Wire", "Handshake"],
            swiftSettings: swift),
        .target(
            name: "Worker", dependencies: ["Confined", "TLS", "Sandbox", "System", "Wire", "Handshake"],
            swiftSettings: swift),
        .target(
            name: "Signer", dependencies: ["Confined", "TLS", "Sandbox", "System", "Wire", "Handshake"],
            swiftSettings: swift),
        .executableTarget(
            name: "tlshd", dependencies: ["Broker", "Settings", "System", "Handshake"], swiftSettings: swift),
        .executableTarget(name: "tlshd-worker", dependencies: ["Worker"], swiftSettings: swift),
        .executableTarget(name: "tlshd-signer", dependencies: ["Signer"], swiftSettings: swift),
        .executableTarget(
            name: "tlshctl",
            dependencies: [
                "Broker", "TLS", "Upcall", "Keyrings", "System", "Settings", "Control", "Wire", "Handshake",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: swift),

        // Benchmarks: the bare library, as a program for the guests and as what our engine is measured against.
        .target(
            name: "CBareLoop", path: "Tests/Benchmarks/Bare", cSettings: c, linkerSettings: [.linkedLibrary("gnutls")]),
        .executableTarget(name: "limit", dependencies: ["CBareLoop"], path: "Tests/Benchmarks/Limit", cSettings: c),
        .executableTarget(
            name: "HostBenchmark", dependencies: ["CBareLoop", "TLS", "System", "Wire", "Handshake"],
            path: "Tests/Benchmarks/Host", swiftSettings: swift),

        .target(name: "TestSupport", dependencies: ["System"], path: "Tests/Support", swiftSettings: swift),
        // Runs code inside the worker's sandbox: a unit test's, and a VM case's.
        .target(name: "CAttempts", path: "Tests/SandboxProbe/CAttempts", cSettings: c),
        .executableTarget(
            name: "SandboxProbe", dependencies: ["CAttempts", "Sandbox", "System"], path: "Tests/SandboxProbe/Probe",
            swiftSettings: swift),
        .testTarget(
            name: "SandboxTests", dependencies: ["Sandbox", "System", "TestSupport", "SandboxProbe"],
            swiftSettings: swift),
        // A worker that does what the protocol does not permit.
        .executableTarget(
            name: "HostileWorker", dependencies: ["System", "Wire", "Handshake"], path: "Tests/HostileWorker",
            swiftSettings: swift),
        // What the signer costs a handshake; `make bench`.
        .executableTarget(
            name: "SignerCost", dependencies: ["TLS", "CGnuTLS", "System", "Wire", "Handshake"],
            path: "Tests/Benchmarks/Signer", swiftSettings: swift),
        .testTarget(name: "HandshakeTests", dependencies: ["Handshake"], swiftSettings: swift),
        .testTarget(name: "WireTests", dependencies: ["Wire", "Handshake"], swiftSettings: swift),
        .testTarget(name: "SettingsTests", dependencies: ["Settings", "Handshake"], swiftSettings: swift),
        .testTarget(
            name: "SystemTests", dependencies: ["TestSupport", "System", "CLinux", "Wire", "Handshake"],
            swiftSettings: swift),
        .testTarget(
            name: "KeyringsTests",
            dependencies: ["TestSupport", "Keyrings", "CKeyutils", "System", "Wire", "Handshake"],
            swiftSettings: swift),
        .testTarget(
            name: "UpcallTests", dependencies: ["TestSupport", "Upcall", "System", "Wire", "Handshake"],
            swiftSettings: swift),
        .testTarget(
            name: "InteropTests",
            dependencies: [
                "TestSupport", "TLS", "CGnuTLS", "CLinux", "System", "Wire", "Handshake", "tlshd-worker",
                "tlshd-signer",
            ],
            path: "Tests/Interop", swiftSettings: swift),
        .testTarget(name: "WorkerTests", dependencies: ["Worker", "TLS", "Wire"], swiftSettings: swift),
        .testTarget(
            name: "TLSHCtlTests", dependencies: ["TestSupport", "tlshctl", "Control", "System", "Handshake"],
            swiftSettings: swift),
        .testTarget(name: "ControlTests", dependencies: ["Control", "Handshake"], swiftSettings: swift),
        .testTarget(
            name: "BrokerTests",
            dependencies: [
                "TestSupport", "Broker", "Upcall", "Keyrings", "System", "Settings", "Control", "Wire", "Handshake",
                "CKeyutils", "tlshd-worker", "tlshd-signer",
                "HostileWorker",
            ],
            swiftSettings: swift),
    ] + fuzzTargets
)
