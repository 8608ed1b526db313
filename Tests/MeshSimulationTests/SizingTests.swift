import MeshCore
import MeshWire
import Testing

@testable import MeshSimulation

/// The answers of `smallworld-sim size`, against runs of the production node.
@Suite struct SizingTests {
    private func run(_ text: String) throws -> Metrics {
        Run(try ScenarioReader.read(text), seed: 1).completed()
    }

    private func sizing(
        nodes: Int, degree: Int, users: Double = 0, churn: Double = 0, messages: Double = 0
    ) -> Sizing {
        var sizing = Sizing(nodes: nodes, users: users, churn: churn, messageRate: messages)
        sizing.degree = degree
        return sizing
    }

    private func differ(_ one: Double, _ other: Double) -> Double { abs(one / other - 1) }

    @Test(arguments: [(24, 8), (40, 16)])
    func `an idle mesh has the links and sends the bytes that the model says`(
        nodes: Int, degree: Int
    ) throws {
        // A change of a link is told to more than a hundred nodes: of the start some come for a while.
        let metrics = try run("{ nodes: \(nodes), degree: \(degree), duration: 40 }")
        let model = sizing(nodes: nodes, degree: degree)
        #expect(differ(metrics.linksPerNode, model.links) < 0.1)
        #expect(differ(metrics.bytesPerNodeSecond.mean, model.bytesPerSecond) < 0.15)
    }

    @Test(arguments: [(30, 4), (60, 6), (30, 8), (60, 16)])
    func `messages take the hops and the bytes that the model says`(
        nodes: Int, degree: Int
    ) throws {
        let metrics = try run(
            """
            { nodes: \(nodes), degree: \(degree), duration: 20, users: { count: 300 },
              messages: { toUsers: 300 } }
            """)
        let model = sizing(nodes: nodes, degree: degree, users: 300, messages: 300)
        #expect(differ(metrics.hops.mean, model.hops) < 0.1)
        #expect(differ(metrics.bytesPerNodeSecond.mean, model.bytesPerSecond) < 0.25)
    }

    @Test func `changes of the directory cost the bytes that the model says`() throws {
        let metrics = try run(
            """
            { nodes: 24, degree: 8, duration: 20,
              users: { count: 300, arrivals: 40, departures: 40 } }
            """)
        let model = sizing(nodes: 24, degree: 8, users: 300, churn: 80)
        #expect(differ(metrics.bytesPerNodeSecond.mean, model.bytesPerSecond) < 0.25)
    }

    @Test func `a directory takes the memory that the model says`() {
        var table = DirectoryTable()
        for users in [0, 100, 20_000] {
            while table.count < users {
                let key = RandomSource.mix(UInt64(table.count)) & 0xFFFF_FFFF_FFFF
                _ = table.insert(Key(key), node: UInt16(table.count % 50))
            }
            let model = sizing(nodes: 50, degree: 16, users: Double(users)).directoryMemoryBytes
            // Memory comes in pieces that weigh more in a small table.
            #expect(Double(table.byteCount) < model * 1.15, "\(users)")
            #expect(users < 10_000 || Double(table.byteCount) > model * 0.8, "\(users)")
        }
    }

    @Test func `a crash and a silence are known to all within the time that the model says`()
        throws
    {
        let crash = try run(
            "{ nodes: 24, degree: 8, duration: 12, faults: [{ at: 8, crash: 1 }] }")
        let model = sizing(nodes: 24, degree: 8)
        #expect(crash.detection.count == 23)
        #expect(crash.detection.max <= model.detectionSeconds)
        let silence = try run(
            "{ nodes: 24, degree: 8, duration: 16, faults: [{ at: 8, vanish: 1 }] }")
        #expect(silence.detection.count == 23)
        #expect(silence.detection.max <= model.silentDetectionSeconds)
        #expect(silence.detection.max > model.silentDetectionSeconds / 2)
    }

    /// The measured figures, and values between them.
    @Test func `hops grow with nodes and fall with degree`() {
        #expect(differ(sizing(nodes: 1_000, degree: 16).hops, 2.862) < 0.001)
        #expect(differ(sizing(nodes: 100_000, degree: 24).hops, 4.577) < 0.001)
        #expect(sizing(nodes: 17, degree: 16).hops == 1)
        var before = 0.0
        for nodes in [18, 40, 99, 100, 300, 2_000, 30_000, 1_000_000, 9_000_000] {
            let hops = [6, 8, 10, 12, 16, 20, 24, 32].map { sizing(nodes: nodes, degree: $0).hops }
            #expect(hops == hops.sorted(by: >))
            #expect(hops[4] > before)
            before = hops[4]
        }
        for (nodes, degree, hops) in [
            (30, 6, 2.080), (60, 6, 2.630), (40, 8, 1.949), (60, 8, 2.226), (40, 16, 1.592),
            (60, 24, 1.596), (300, 16, 2.407),
            (2_000, 12, 3.625),
        ] {
            #expect(differ(sizing(nodes: nodes, degree: degree).hops, hops) < 0.04)
        }
    }

    @Test func `a ring with nothing across it is said to be too small for many nodes`() {
        #expect(sizing(nodes: 960, degree: 5).obstacle == nil)
        #expect(sizing(nodes: 961, degree: 5).table.contains("take 6 links or more"))
        #expect(sizing(nodes: 961, degree: 5).json.contains("\"obstacle\": \"5 links"))
        #expect(sizing(nodes: 961, degree: 6).json.contains("\"obstacle\": null"))
        #expect(differ(sizing(nodes: 1_000, degree: 4).hops, 125.9) < 0.01)
    }
}
