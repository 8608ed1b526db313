import MeshCore
import MeshDriver
import MeshWire
import Testing

@testable import MeshGateway
@testable import MeshServer

/// Servers with clients that ask and serve; what each client is told, in words.
final class Desk {
    let servers: Servers
    private var decoders: [Int: RESPDecoder] = [:]

    struct Person: Hashable {
        let host: Int
        let client: ClientIndex
        let number: Int

        static func == (one: Person, other: Person) -> Bool { one.number == other.number }
        func hash(into hasher: inout Hasher) { hasher.combine(number) }
    }

    /// All that were opened, in order.
    private(set) var people: [Person] = []

    init(_ count: Int = 1) { servers = Servers(count) }

    func open(_ host: Int = 0) -> Person {
        let person = Person(host: host, client: servers.open(host), number: people.count)
        people.append(person)
        decoders[person.number] = RESPDecoder()
        _ = say(person, "HELLO", "3")
        return person
    }

    /// A provider of `sum`, confirmed.
    func provider(
        _ host: Int = 0, _ service: String = "sum", concurrency: Int = 16
    ) -> Person {
        let person = open(host)
        #expect(say(person, "MESH.SERVE", service, "CONCURRENCY", "\(concurrency)") == ["OK"])
        return person
    }

    /// Sends one command, and returns what the client has been told then.
    @discardableResult
    func say(_ person: Person, _ words: String...) -> [String] {
        servers.mesh.send(RESPDecoder.command(words), from: person.client, person.host)
        servers.mesh.settle()
        servers.run(for: .zero)
        return heard(person)
    }

    /// All that a client has been told since.
    func heard(_ person: Person) -> [String] {
        decoders[person.number]!.append(servers.mesh.read(person.client, person.host))
        var words: [String] = []
        while let reply = try! decoders[person.number]!.next() { words.append(reply.shown) }
        return words
    }

    /// The requests among what a provider has been told: their names and payloads.
    func requests(_ person: Person) -> [(id: String, payload: String)] {
        heard(person).compactMap { line in
            let words = line.components(" → ")
            guard words.count == 5, words[0] == "request" else { return nil }
            return (words[1], words[4])
        }
    }

    func close(_ person: Person) { servers.mesh.close(person.client, person.host) }

    func run(_ milliseconds: Int64) { servers.run(for: .milliseconds(milliseconds)) }

    func counter(_ counter: GatewayCounter, _ host: Int = 0) -> UInt64 {
        servers.mesh.hosts[host].server.edge.gateway.hub.counters[counter]
    }

    /// Nothing is left of any request.
    func expectNothing() {
        for host in 0..<servers.mesh.hosts.count where servers.isUp(host) {
            let open = servers.mesh.hosts[host].server.edge.gateway.hub.openRequestCount
            let bytes = servers.mesh.hosts[host].server.edge.gateway.hub.memory.requests
            #expect(open == 0 && bytes == 0, "host \(host)")
        }
    }
}

extension String {
    fileprivate func components(_ separator: String) -> [String] {
        var parts: [String] = []
        var rest = self[...]
        while let range = rest.firstRange(of: separator) {
            parts.append(String(rest[..<range.lowerBound]))
            rest = rest[range.upperBound...]
        }
        return parts + [String(rest)]
    }
}
