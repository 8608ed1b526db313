import Foundation
import Testing

@testable import MeshSimulation
@testable import SimulatorCommand

@Suite struct TopologyCommandTests {
    private func order(_ words: String...) throws -> TopologyOrder {
        try TopologyOrder(Arguments.parse(words, Command.topology.flags))
    }

    private func report(_ words: String...) throws -> TopologyReport {
        try TopologyReport(
            TopologyOrder(Arguments.parse(words, Command.topology.flags)), Progress())
    }

    @Test(arguments: [
        ["--nodes", "7"], ["--nodes", "many"], ["--nodes"], ["--degree", "15"],
        ["--degree", "2"], ["--routing", "psychic"], ["--routing", "greedy,"],
        ["--routing", "greedy,greedy"], ["--graph", "tree"], ["--dead", "96%"],
        ["--dead", "-1"], ["--dead", "nan"], ["--dead", "some"], ["--routes", "0"],
        ["--nodes", "8", "--dead", "90%"], ["--zones", "0"], ["--zones", "256"],
        ["--candidates", "4"], ["--graph", "random-regular", "--zones", "2", "--candidates", "4"],
        ["--jobs", "0"], ["--seed", "-1"], ["--json", "--csv"], ["--csv=yes"], ["extra"],
        ["--turns", "10"], ["--colour", "red"], ["--seed", "1", "--seed", "2"],
    ])
    func `arguments that make no sense end with status 64 and one line that says why`(
        words: [String]
    ) throws {
        #expect(runCommand(["topology"] + words) == 64)
        let error = #expect(throws: UsageError.self) {
            _ = try TopologyOrder(Arguments.parse(words, Command.topology.flags))
        }
        #expect(error?.description.contains("\n") == false)
    }

    @Test func `without arguments a thousand nodes are routed in all three ways`() throws {
        let order = try order()
        #expect(order.nodes == 1_000 && order.degree == 16 && order.routes == 1_000_000)
        #expect(order.routings == Routing.allCases)
        #expect(order.plans.map(\.kind) == [.ours])
        #expect(order.plans[0].ringLinks == 2 && order.turns == 1 && order.deadShare == 0)
    }

    @Test func `a share is a number or per cent`() throws {
        #expect(try order("--dead", "30%").deadShare == 0.3)
        #expect(try order("--dead=0.3").deadShare == 0.3)
    }

    @Test func `JSON has the keys that programs read`() throws {
        let report = try report(
            "--nodes", "200", "--routes", "300", "--routing", "greedy,lookahead-2", "--zones",
            "3", "--jobs", "2")
        let json = try JSONSerialization.jsonObject(with: Data(report.json.utf8))
        let object = try #require(json as? [String: Any])
        #expect((object["bytesPerNode"] as? Double ?? 0) > 64)
        #expect((object["memoryBytes"] as? Int ?? 0) > 1 << 20)
        #expect((object["seconds"] as? Double) != nil)
        let routes = try #require(object["routes"] as? [[String: Any]])
        #expect(routes.map { $0["routing"] as? String } == ["greedy", "lookahead-2"])
        for route in routes {
            #expect(route["graph"] as? String == "ours")
            #expect((route["meanHops"] as? Double ?? 0) > 1)
            for key in ["p50", "p99", "max", "loadMaxOverMean"] {
                #expect((route[key] as? Double ?? 0) >= 1, "\(key)")
            }
            #expect(route["failedShare"] as? Double == 0)
            #expect((route["zoneCrossings"] as? Double ?? 0) > 0.5)
        }
    }

    @Test func `values separated by commas have one heading and a line for each graph and routing`()
        throws
    {
        let report = try report(
            "--nodes", "100", "--routes", "200", "--graph",
            "ours,random-harmonic,geometric-fingers,random-regular", "--routing", "greedy")
        let lines = report.csv.split(separator: "\n").map { $0.split(separator: ",") }
        #expect(lines.count == 5)
        #expect(lines.allSatisfy { $0.count == lines[0].count })
        #expect(lines[0][0] == "nodes" && lines[0][4] == "mean_hops")
        #expect(lines.dropFirst().map { $0[2] } == Graph.Kind.allCases.map { $0.rawValue[...] })
        let table = report.table
        for kind in Graph.Kind.allCases { #expect(table.contains(kind.rawValue)) }
    }

    @Test func `the figures do not depend on the number of threads`() throws {
        func figures(_ jobs: String) throws -> [String] {
            try report("--nodes", "150", "--routes", "4000", "--jobs", jobs, "--dead", "20%")
                .rows.map { "\($0.distribution) \($0.loadMaxOverMean) \($0.failedShare)" }
        }
        let one = try figures("1")
        #expect(try figures("2") == one)
        #expect(try figures("5") == one)
    }
}
