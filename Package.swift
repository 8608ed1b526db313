// swift-tools-version: 6.2
import PackageDescription

// The targets stand in the order of the path of a byte:
// bytes → frames → messages → events → Server (Node ⇄ Hub) → effects → bytes.

let strict: [SwiftSetting] = [
    .strictMemorySafety(),
    .enableUpcomingFeature("ExistentialAny"),
]

let package = Package(
    name: "smallworld",
    products: [
        .library(name: "Smallworld", targets: ["Smallworld"]),
        .executable(name: "smallworld", targets: ["NodeCommand"]),
        .executable(name: "smallworld-sim", targets: ["SimulatorCommand"]),
        .executable(name: "smallworld-bench", targets: ["BenchCommand"]),
    ],
    targets: [
        // What stands on a command line, for the executables.
        .target(name: "CommandArguments", swiftSettings: strict),
        // Pure: JSON5 files, read with the place of every mistake; numbers as text.
        .target(name: "JSON5", swiftSettings: strict),
        // epoll, eventfd, accept4, which Glibc leaves out. Headers only.
        .target(name: "CLinux"),
        // Pure: frames and messages of the link protocol ⇄ bytes.
        .target(name: "MeshWire", swiftSettings: strict),
        // Pure: the node. Event in, effects out.
        .target(name: "MeshCore", dependencies: ["MeshWire"], swiftSettings: strict),
        // Pure: client protocols as state machines.
        .target(
            name: "MeshGateway", dependencies: ["MeshWire", "MeshCore"], swiftSettings: strict),
        // Pure: a node and its clients, and what they say to one another.
        .target(
            name: "MeshServer", dependencies: ["MeshWire", "MeshCore", "MeshGateway"],
            swiftSettings: strict),
        // The only module with system calls; drives a `Server`.
        .target(
            name: "MeshTransport",
            // It keeps a server, which keeps a gateway: a module is built anew only when one that
            // it names has changed.
            dependencies: ["CLinux", "MeshWire", "MeshCore", "MeshGateway", "MeshServer"],
            swiftSettings: strict),
        // Pure: virtual time, the other driver of `Server`.
        .target(
            name: "MeshSimulation",
            dependencies: ["JSON5", "MeshWire", "MeshCore", "MeshGateway", "MeshServer"],
            swiftSettings: strict),
        // Pure: a few servers in one process, for tests, fuzzers and benches.
        .target(
            name: "MeshDriver",
            dependencies: ["MeshWire", "MeshCore", "MeshGateway", "MeshServer"],
            swiftSettings: strict),
        // The public Swift API.
        // It keeps values that hold values of all these: a module is built anew only when one
        // that it names has changed.
        .target(
            name: "Smallworld",
            dependencies: ["MeshTransport", "MeshServer", "MeshGateway", "MeshCore", "MeshWire"],
            swiftSettings: strict),

        .executableTarget(
            name: "NodeCommand",
            dependencies: [
                "CommandArguments", "JSON5", "CLinux", "Smallworld", "MeshTransport",
                "MeshServer", "MeshGateway", "MeshCore", "MeshWire",
            ],
            swiftSettings: strict),
        .executableTarget(
            name: "SimulatorCommand",
            // It keeps worlds, which have servers and slabs: see `Smallworld`.
            dependencies: [
                "CommandArguments", "JSON5", "MeshSimulation", "MeshServer", "MeshGateway",
                "MeshCore", "MeshWire",
            ],
            swiftSettings: strict),
        .executableTarget(
            name: "BenchCommand",
            dependencies: ["MeshWire", "MeshCore", "MeshServer", "MeshDriver"],
            swiftSettings: strict),

        .testTarget(name: "JSON5Tests", dependencies: ["JSON5"]),
        .testTarget(name: "MeshWireTests", dependencies: ["MeshWire"]),
        .testTarget(
            name: "MeshCoreTests",
            dependencies: ["MeshDriver", "MeshServer", "MeshGateway", "MeshCore", "MeshWire"],
            exclude: ["Membership/Transcripts"]),
        .testTarget(
            name: "MeshGatewayTests",
            dependencies: ["MeshDriver", "MeshServer", "MeshGateway", "MeshWire", "MeshCore"]),
        .testTarget(
            name: "MeshServerTests",
            dependencies: ["MeshDriver", "MeshServer", "MeshGateway", "MeshCore", "MeshWire"]),
        .testTarget(
            name: "MeshTransportTests",
            dependencies: [
                "NodeCommand", "Smallworld", "MeshTransport", "MeshServer", "MeshGateway",
                "MeshCore", "MeshWire",
            ]),
        .testTarget(
            name: "MeshSimulationTests",
            dependencies: [
                "JSON5", "MeshSimulation", "MeshServer", "MeshGateway", "MeshCore", "MeshWire",
            ],
            exclude: ["hops-by-graph.csv"]),
        .testTarget(name: "NodeCommandTests", dependencies: ["NodeCommand", "MeshGateway"]),
        .testTarget(
            name: "SimulatorCommandTests", dependencies: ["SimulatorCommand", "MeshSimulation"]),
        .testTarget(name: "TidyTests"),
    ],
    swiftLanguageModes: [.v6]
)
