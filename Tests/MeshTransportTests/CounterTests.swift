import MeshCore
import MeshGateway
import MeshServer
import Smallworld
import Testing

@testable import NodeCommand

/// Each counter is declared in one place; /metrics and MESH.STATUS have all of it.
@Suite(.timeLimit(.minutes(15))) struct CounterTests {
    /// Of /metrics and MESH.STATUS: what is declared, and in which order.
    private let shown: [(name: String, help: String)] =
        declarations(NodeCounter.self) + declarations(GatewayCounter.self)
        + declarations(ServerCounter.self) + declarations(DriverCounter.self)

    private static func declarations<Name: CounterName>(
        _ names: Name.Type
    ) -> [(name: String, help: String)] {
        names.allCases.filter(\.isShown).map { ("\($0)", $0.rawValue) }
    }

    @Test func `each counter counts for itself`() {
        func expectOwnPlaces<Name: CounterName, let count: Int>(
            _ counters: Counters<Name, count>
        ) {
            var counters = counters
            for (place, name) in Name.allCases.enumerated() {
                #expect(counters[name] == 0)
                counters[name] &+= UInt64(place + 1)
            }
            #expect(Name.allCases.map { counters[$0] } == Array(1...UInt64(count)))
        }
        expectOwnPlaces(NodeCounters())
        expectOwnPlaces(GatewayCounters())
        expectOwnPlaces(ServerCounters())
        expectOwnPlaces(DriverCounters())
    }

    @Test func `names are of one kind, and no two are the same`() {
        for (name, help) in shown {
            #expect(name.wholeMatch(of: /[a-z]+([A-Z][a-z]+)*/) != nil, "\(name)")
            #expect(help.wholeMatch(of: /[A-Z][^\n\\]*\./) != nil, "\(help)")
        }
        #expect(Set(shown.map(\.name)).count == shown.count)
    }

    @Test func `metrics have each counter once, with its help`() throws {
        // They have labels.
        let labelled = [
            "slow_consumer_dropped_total", "slow_consumer_disconnected_total", "requests_total",
        ]
        let lines = try TestReactor().get("/metrics").split(separator: "\n")
        var counters: [(name: String, help: String)] = []
        for (index, line) in lines.enumerated() {
            guard let found = line.wholeMatch(of: /# HELP smallworld_([a-z_]+_total) (.*)/)
            else { continue }
            let name = String(found.1)
            if labelled.contains(name) || name.hasPrefix("link_") { continue }
            #expect(lines[index + 1] == "# TYPE smallworld_\(name) counter")
            #expect(lines[index + 2].hasPrefix("smallworld_\(name) "))
            counters.append((name, String(found.2)))
        }
        #expect(counters.map(\.help) == shown.map(\.help))
        #expect(
            counters.map { $0.name.split(separator: "_").joined() }
                == shown.map { $0.name.lowercased() + "total" })
        #expect(counters.contains { $0.name == "dropped_unknown_destination_total" })
    }

    @Test func `the status has each counter once`() throws {
        let reactor = try TestReactor()
        let client = try RESPClient(
            .network(HostPort(host: "127.0.0.1", port: reactor.redis.port)),
            seconds: 5)
        guard case .map(let fields) = try client.call(["MESH.STATUS"]) else {
            Issue.record("the status is no map")
            return
        }
        #expect(fields.map(\.name).suffix(shown.count) == shown.map(\.name)[...])
        #expect(Set(fields.map(\.name)).count == fields.count)
    }
}
