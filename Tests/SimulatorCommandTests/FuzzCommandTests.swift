import Foundation
import Testing

@testable import MeshSimulation
@testable import SimulatorCommand

@Suite struct FuzzCommandTests {
    private var mistakesScript: String {
        get throws {
            let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
                .deletingLastPathComponent().deletingLastPathComponent()
            return try String(
                contentsOf: root.appendingPathComponent(".ci/mistakes"), encoding: .utf8)
        }
    }

    @Test func `the mistakes that take turns in CI are all that random scenarios show`() throws {
        let script = try mistakesScript
        let start = try #require(script.range(of: "mistakes=("))
        let end = try #require(script.range(of: ")", range: start.upperBound..<script.endIndex))
        let listed = script[start.upperBound..<end.lowerBound].split { $0.isWhitespace }
        #expect(listed.map(String.init) == Mistake.allCases.filter(\.showsAtRandom).map(\.rawValue))
        #expect(listed.count >= 12)
    }

    @Test(arguments: [
        ["soak", "--messages", "some"], ["soak", "--seeds", "0"], ["soak", "--jobs", "0"],
        ["fuzz", "--mistake", "sneezes"], ["run", "--mistake", "sneezes", "none.json5"],
    ])
    func `arguments that make no sense end with status 64`(words: [String]) {
        #expect(runCommand(words) == 64)
    }

    @Test func `a soak's sums have the keys that programs read`() throws {
        var tally = SoakTally()
        var metrics = Metrics()
        metrics.copies = 10
        metrics.delivered = 8
        metrics.undelivered = 2
        metrics.lives = 5
        tally.add(metrics)
        tally.add(metrics)
        let json = try JSONSerialization.jsonObject(with: Data(tally.json(from: 7).utf8))
        let object = try #require(json as? [String: Any])
        #expect(object["from"] as? Int == 7 && object["seeds"] as? Int == 2)
        #expect(object["messages"] as? Int == 20 && object["delivered"] as? Int == 16)
        #expect(object["undelivered"] as? Int == 4 && object["nodes"] as? Int == 10)
        for key in ["lost", "duplicated", "reordered", "violations", "orphaned", "refused"] {
            #expect(object[key] as? Int == 0, "\(key)")
        }
    }
}
