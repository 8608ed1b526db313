import MeshCore
import MeshGateway
import MeshWire
import Testing

@testable import MeshServer
@testable import MeshSimulation

/// A mesh with clients beside its nodes, in which nothing goes wrong. Notes what they do.
struct CalmMesh: ~Copyable {
    /// The counts of a world at one time: of nodes that are up, and of frames.
    struct Counts {
        var nodes: [Int: NodeCounters] = [:]
        var gateways: [Int: GatewayCounters] = [:]
        var servers: [Int: ServerCounters] = [:]
        var frames: [Int] = []

        init(_ world: borrowing World) {
            for host in world.everyone {
                nodes[host] = world.hosts[host]!.server.node.counters
                gateways[host] = world.hosts[host]!.server.edge.gateway.hub.counters
                servers[host] = world.hosts[host]!.server.counters
            }
            frames = TrafficCount.Purpose.allCases.map { world.trafficCount.frameCount($0) }
        }
    }

    var world: World
    var work = CalmWork()
    private var before: Counts
    private var since: Instant
    private var hostOf: [Int: Int] = [:]
    /// Clients of each channel, user and pattern, by host.
    private var holders: [String: [Int: Int]] = [:]
    private var distances: [Int: [Int]] = [:]
    /// Published at this moment: a client writes all that it has at once.
    private var outbox: [(line: Int, text: String)] = []

    /// Nodes that know each other and have their links.
    init(_ world: consuming World) {
        before = Counts(world)
        since = world.now
        self.world = world
    }

    init(nodes: Int, degree: Int = 16, settle: Delay = .seconds(6), seed: UInt64 = 1) {
        var world = mesh(of: nodes, seed: seed, degree: degree)
        world.run(for: settle)
        self.init(world)
    }

    /// The time before does not count.
    mutating func begin() {
        before = Counts(world)
        since = world.now
        work = CalmWork()
    }

    /// Sends what clients publish, and lets time pass.
    mutating func run(for delay: Delay) {
        for (line, text) in outbox { world.write(Array(text.utf8), to: line) }
        outbox = []
        world.run(for: delay)
    }

    // MARK: Clients

    mutating func open(_ host: Int) -> Int {
        let line = world.connectLocally(to: host)!
        hostOf[line] = host
        work.clients += 1
        return line
    }

    /// One command; what the client has read since it was last asked.
    @discardableResult
    mutating func exchange(_ line: Int, _ command: String) -> String {
        work.commands += 1
        world.write(Array("\(command)\r\n".utf8), to: line)
        // Changes of one node are this far apart, so that each travels by itself; an answer of another
        // node is there.
        world.run(for: .milliseconds(12))
        return read(line)
    }

    mutating func read(_ line: Int) -> String {
        String(decoding: world.read(line), as: UTF8.self)
    }

    /// A client takes part in `what`: "channel a", "user ann", "pattern a*".
    @discardableResult
    mutating func join(_ line: Int, _ what: String, _ command: String) -> String {
        let host = hostOf[line]!
        holders[what, default: [:]][host, default: 0] += 1
        if holders[what]![host] == 1 { change(what) }
        return exchange(line, command)
    }

    mutating func part(_ line: Int, _ what: String, _ command: String?) {
        leave(hostOf[line]!, what)
        if let command {
            exchange(line, command)
        } else {
            world.close(line: line)
            world.run(for: .milliseconds(12))
        }
    }

    /// A node has a client less that takes part.
    mutating func leave(_ host: Int, _ what: String) {
        holders[what]![host]! -= 1
        if holders[what]![host] == 0 {
            holders[what]![host] = nil
            change(what)
        }
    }

    private mutating func change(_ what: String) {
        work.changes += 1
        // A pattern that comes has its length and its text.
        if what.hasPrefix("pattern ") { work.patternBytes += 2 + what.utf8.count - 8 }
    }

    /// A message to all that take part in any of `whats`.
    mutating func publish(_ line: Int, _ command: String, to whats: [String]) {
        let origin = hostOf[line]!
        var all: [Int: Int] = [:]
        for what in whats { all.merge(holders[what] ?? [:]) { $0 + $1 } }
        work.publications += 1
        work.copies += all.values.reduce(0, +)
        let destinations = all.keys.filter { $0 != origin }.sorted()
        if !destinations.isEmpty { work.messages += 1 }
        let distances = distances(from: origin)
        for destination in destinations {
            work.deliveries += 1
            work.steps += distances[destination]
            var flow =
                work.flows[[origin, destination]] ?? CalmWork.Flow(steps: distances[destination])
            flow.send(at: world.now)
            work.flows[[origin, destination]] = flow
            if distances[destination] > 1 { work.forwardsMin += 1 }
        }
        if whats.count == 1, destinations.count == 1 {
            // All of a way's nodes but the first send it on.
            work.forwardsMin += max(0, distances[destinations[0]] - 2)
        }
        work.commands += 1
        if outbox.last?.line != line { outbox.append((line, "")) }
        outbox[outbox.count - 1].text += "\(command)\r\n"
    }

    /// Steps from a node to each in the graph of the links.
    private mutating func distances(from origin: Int) -> [Int] {
        if let known = distances[origin] { return known }
        var steps = [Int](repeating: .max, count: world.hostCount)
        steps[origin] = 0
        var reached = [origin]
        var position = 0
        while position < reached.count {
            let host = reached[position]
            position += 1
            for link in world.links(host) {
                let peer = world.host(of: link.peer)!
                if steps[peer] == .max {
                    steps[peer] = steps[host] + 1
                    reached.append(peer)
                }
            }
        }
        #expect(steps.max()! <= 3, "further than a node looks: its ways may be longer")
        distances[origin] = steps
        return steps
    }

    // MARK: The end

    /// Every counter is within its bounds.
    mutating func check(_ location: SourceLocation = #_sourceLocation) {
        let after = Counts(world)
        let hosts = world.everyone
        work.nodes = hosts.count
        work.seconds = Double((world.now - since).nanoseconds) / 1e9
        work.linkEnds = hosts.reduce(0) { $0 + world.links($1).count }
        func expect(_ name: String, _ value: Int, _ bounds: ClosedRange<Int>) {
            #expect(
                bounds.contains(value), "\(name) is \(value), not in \(bounds)",
                sourceLocation: location)
        }
        func sum(_ count: (Int) -> (UInt64, UInt64?)) -> Int {
            hosts.reduce(0) { $0 + Int(count($1).0) - Int(count($1).1 ?? 0) }
        }
        for counter in NodeCounter.allCases {
            let value = sum { (after.nodes[$0]![counter], before.nodes[$0]?[counter]) }
            expect("\(counter)", value, work.bounds(of: counter))
        }
        let acknowledgements = sum {
            let count = { (counters: NodeCounters) in
                counters[.acknowledgementsSent] + counters[.acknowledgementsCarried]
            }
            return (count(after.nodes[$0]!), before.nodes[$0].map(count))
        }
        expect("acknowledgements", acknowledgements, work.acknowledgementsInAll)
        for counter in GatewayCounter.allCases {
            let value = sum { (after.gateways[$0]![counter], before.gateways[$0]?[counter]) }
            expect("\(counter)", value, work.bounds(of: counter))
        }
        for counter in ServerCounter.allCases {
            let value = sum { (after.servers[$0]![counter], before.servers[$0]?[counter]) }
            expect("\(counter)", value, work.bounds(of: counter))
        }
        for purpose in TrafficCount.Purpose.allCases {
            let value = after.frames[purpose.rawValue] - before.frames[purpose.rawValue]
            expect("frames: \(purpose)", value, work.bounds(of: purpose))
        }
    }
}
