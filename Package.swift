// swift-tools-version: 6.2

import PackageDescription

let settings: [SwiftSetting] = [
    .strictMemorySafety(),
    .treatAllWarnings(as: .error),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
]

let fuzzing: [Target] =
    Context.environment["FUZZ"] == nil
    ? []
    : [
        .executableTarget(
            name: "FuzzSettings", dependencies: ["Settings"], path: "Tests/Fuzz/FuzzSettings",
            swiftSettings: settings + [.unsafeFlags(["-parse-as-library"])])
    ]

let package = Package(
    name: "tlshd",
    targets: [
        .target(name: "Settings", swiftSettings: settings),
        .testTarget(name: "SettingsTests", dependencies: ["Settings"], swiftSettings: settings),
    ] + fuzzing,
    swiftLanguageModes: [.v6]
)
