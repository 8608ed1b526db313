import Foundation
import JSON5
import MeshCore
import Testing

@testable import MeshSimulation

@Suite struct ScenarioTests {
    @Test func `every shipped scenario can be read and has expectations`() throws {
        let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .deletingLastPathComponent().deletingLastPathComponent()
            .appendingPathComponent("simulations")
        let files = try FileManager.default.contentsOfDirectory(atPath: folder.path)
            .filter { $0.hasSuffix(".json5") }
        #expect(files.count >= 5)
        for file in files {
            let text = try String(
                contentsOf: folder.appendingPathComponent(file), encoding: .utf8)
            let scenario = try ScenarioReader.read(text)
            #expect(scenario.name + ".json5" == file)
            #expect(!scenario.expectations.isEmpty, "\(file)")
            #expect(!scenario.about.isEmpty, "\(file)")
        }
    }

    @Test(arguments: [
        ("{\n  nodes: 10,\n  degre: 4 }", 3, 3, "expected one of"),
        ("{ nodes: 'ten' }", 1, 10, "expected a whole number from 1 to 20000"),
        ("{ }", 1, 1, "expected 'nodes'"),
        ("[]", 1, 1, "expected an object, found a list"),
        ("{ nodes: 3, faults: [\n{ at: 1 } ] }", 2, 1, "expected one kind of fault"),
        ("{ nodes: 3, faults: [{ crash: 1 }] }", 1, 22, "expected 'at'"),
        ("{ nodes: 3, faults: [{ at: 1, crash: '3%%' }] }", 1, 38, "expected a number, a share"),
        ("{ nodes: 3, expect: { 'hops.men': 3 } }", 1, 23, "expected a metric"),
        ("{ nodes: 3, tolerate: ['hops'] }", 1, 24, "expected a checker"),
        ("{ nodes: 3 } x", 1, 14, "expected the end of the file"),
    ])
    func `a mistake in the file is an error with line, column and what was expected`(
        text: String, line: Int, column: Int, expected: String
    ) {
        let error = #expect(throws: JSON5Error.self) { try ScenarioReader.read(text) }
        #expect(error?.line == line)
        #expect(error?.column == column)
        #expect(error?.message.contains(expected) == true, "\(error?.message ?? "")")
    }

    @Test func `JSON5 as people write it is read`() throws {
        let scenario = try ScenarioReader.read(
            """
            // A comment.
            { "nodes": +0x10, 'degree': 8, /* another */ duration: .5, about: 'it\\'s \\u0041\\
             whole',
              faults: [{ at: 2., crash: "30%", },],
              zones: { eu: { latency: 1 }, us: { share: 2 } },
              network: { between: [{ from: 'eu', to: 'us', latency: 40 }] },
              expect: { lost: [null, 3], 'hops.mean': 2 }, }
            """)
        #expect(scenario.nodes == 16)
        #expect(scenario.degree == 8)
        #expect(scenario.duration == .milliseconds(500))
        #expect(scenario.about == "it's A whole")
        #expect(scenario.faults[0].amount == .share(0.3))
        #expect(scenario.faults[0].at == .seconds(2))
        #expect(scenario.zones.map(\.name) == ["eu", "us"])
        #expect(scenario.network.between[0].2 == .milliseconds(40))
        #expect(scenario.expectations.map(\.most) == [3, 2])
    }

    @Test func `a scenario drawn by fuzz survives a file`() throws {
        for seed in 1...40 as ClosedRange<UInt64> {
            let drawn = Fuzz.scenario(seed: seed)
            let read = try ScenarioReader.read(drawn.file)
            #expect(read.file == drawn.file)
        }
    }

    @Test func `logarithms, powers and sines are those of the textbook`() {
        #expect(abs(MeshCore.log2(10) - 3.321928094887362) < 1e-14)
        #expect(abs(power(10, 2.5) - 316.2277660168379) < 1e-9)
        let (sine, cosine) = sineAndCosine(ofTurn: 1.0 / 12)
        #expect(abs(sine - 0.5) < 1e-7 && abs(cosine - 0.8660254037844386) < 1e-7)
    }
}
