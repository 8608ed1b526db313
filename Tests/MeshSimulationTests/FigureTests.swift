import MeshCore
import Testing

@testable import MeshSimulation

/// The figures of `Figures`, on meshes small enough for a debug build; the scenarios in
/// `simulations` hold them at a thousand nodes.
@Suite struct FigureTests {
    private func run(_ text: String, seed: UInt64 = 5) throws -> Metrics {
        let metrics = Run(try ScenarioReader.read(text), seed: seed).completed()
        #expect(metrics.violations == [])
        return metrics
    }

    @Test func `copies of a channel's message are the edges of a tree`() throws {
        let metrics = try run(
            """
            { nodes: 60, degree: 6, duration: 14, channels: { count: 2, subscribers: "all" },
              messages: { toChannels: 20, from: 11 } }
            """)
        #expect(metrics.delivered > 1_000)
        #expect(metrics.hops.max > 3)
        #expect(metrics.figures.channels.transmissions == metrics.delivered)
        #expect(metrics.figures.channels.copiesAgain == 0)
        #expect(metrics.figures.channels.copiesBeyondTree == 0)
    }

    @Test func `few subscribers cost few copies, and none twice over a link`() throws {
        let metrics = try run(
            """
            { nodes: 60, degree: 6, duration: 14, channels: { count: 10, subscribers: 6 },
              messages: { toChannels: 40, from: 11 } }
            """)
        #expect(metrics.delivered > 300)
        #expect(metrics.figures.channels.perSubscriber < 3)
        #expect(metrics.figures.channels.copiesAgain == 0)
        #expect(metrics.figures.channels.copiesBeyondTree == 0)
    }

    /// 29 bytes every 450 ms over each link, eight of them the digest, and nothing beside.
    @Test(arguments: [(30, 8), (60, 8), (30, 16)])
    func `idle traffic grows with the degree alone`(nodes: Int, degree: Int) throws {
        // Of three graphs of 30 with 16 links one still changes at that time, by the seed.
        let metrics = try run("{ nodes: \(nodes), degree: \(degree), duration: 20 }", seed: 6)
        let heartbeats = 29.0 / 0.45
        #expect(abs(metrics.figures.bytesPerLinkSecond / heartbeats - 1) < 0.04)
        #expect(metrics.linksPerNode <= Double(degree))
    }

    @Test func `each change comes to each node once and soon`() throws {
        let metrics = try run(
            "{ nodes: 30, degree: 8, duration: 12, users: { count: 50, moves: 20 } }")
        let figures = metrics.figures
        #expect(figures.spread.count > 29 * 200)
        #expect(figures.spread.count.isMultiple(of: 29))
        #expect(figures.spread.p99 < 30)
        #expect(figures.redundancy < 0.01)
    }

    @Test func `the dead are suspected, known and their users gone in time`() throws {
        let silent = try run(
            """
            { nodes: 40, degree: 8, duration: 8, users: { count: 100 },
              faults: [{ at: 7, vanish: 4 }] }
            """)
        #expect(silent.figures.suspicion.count >= 4 * 36)
        #expect(silent.figures.suspicion.max <= 1.5)
        #expect(silent.detection.max <= 5)
        #expect(silent.figures.withdrawal.count == 4 * 36)
        #expect(silent.figures.withdrawal.max <= 0.3)
        let crashed = try run(
            """
            { nodes: 40, degree: 8, duration: 8, users: { count: 100 },
              faults: [{ at: 7, crash: 4 }] }
            """)
        #expect(crashed.detection.count == 4 * 36)
        #expect(crashed.detection.max <= 0.3)
        #expect(crashed.figures.withdrawal.max <= 0.3)
        #expect(crashed.figures.falseRemovals == 0)
    }

    @Test func `a frozen node that is removed is a false removal`() throws {
        let metrics = try run(
            "{ nodes: 20, degree: 8, duration: 14, faults: [{ at: 5, freeze: 1, for: 7 }] }")
        #expect(metrics.figures.falseRemovals > 0)
    }

    /// Twelve bytes for each member in the parts that differ, not the whole of what is known of it.
    @Test func `after a partition neighbours compare by summaries, and all is repaired`() throws {
        let metrics = try run(
            """
            { nodes: 80, degree: 8, duration: 10, settle: 15, users: { count: 400, moves: 60 },
              faults: [{ at: 7, partition: [1, 1], for: 3 }] }
            """)
        let repair = metrics.figures.repair
        #expect(metrics.deaths == 0)
        #expect(repair.changes > 1_000)
        #expect(repair.pairs > 200)
        // A digest of 64 parts, and summaries both ways; some pairs compare twice. Whole entries of 80
        // members are 4,000 bytes one way.
        #expect(repair.bytesPerPair < 529 + 3 * (19 + 12 * 80))
    }
}
