import MeshCore
import MeshDriver
import MeshWire

/// The way of a message through the nodes, step by step: from a client's publication to the bytes
/// on a link, through a node in between, and from a link to the clients.
func benchPath(_ bench: inout Bench) {
    guard bench.wants("path") || bench.wants("routing") else { return }
    // Degree 8 among 64 nodes: most pairs are two or three hops apart.
    var mesh = MemoryMesh.settled(count: 64, degree: 8)
    benchNextHop(&bench, &mesh)
    benchOneReceiver(&bench, &mesh)
    benchManyReceivers(&bench, &mesh)
    benchWholeWay(&bench, &mesh)
}

/// Messages of a stage: what a busy socket gives at once. A queue keeps 64 KiB when it is drained;
/// more than that in one turn would be allocated anew each time.
let batch = 128
let batches = 400

/// A cached next hop and the way that is found anew, as after each change of links.
private func benchNextHop(_ bench: inout Bench, _ mesh: inout MemoryMesh) {
    var others: [NodeID] = []
    for index in 1..<mesh.hosts.count { others.append(mesh.hosts[index].server.node.id) }
    let rounds = 10_000
    bench.measure("routing/next hop", operations: rounds * others.count, isHotPath: true) {
        for _ in 0..<rounds {
            for other in others {
                keep(mesh.hosts[0].server.nextHop(to: other)?.rawValue ?? 0)
            }
        }
    }
}

/// A user three stations away: its message's publication, transit and arrival.
private func benchOneReceiver(_ bench: inout Bench, _ mesh: inout MemoryMesh) {
    guard let way = twoHopWay(&mesh) else { preconditionFailure("every pair is linked") }
    let name = Array("user:12345678".utf8)
    let key = mesh.hasher.key(.user, name)
    mesh.handle(.directory(key, .add), way.destination)
    mesh.run(for: .seconds(5))

    let input = name + [UInt8](repeating: 0x70, count: 128)
    let publication = OutgoingMessage(
        .user, key, name: Slice(start: 0, count: name.count),
        payload: Slice(start: name.count, count: 128))
    let stages = ["publish to 1 node", "transit", "arrival", "acknowledgement"]
    bench.measureStages(stages.map { "path/\($0)" }, operations: batch, rounds: batches) { stage in
        switch stage {
        case 0:
            for _ in 0..<batch { _ = mesh.publish(publication, input.span, at: way.origin) }
        case 1: mesh.carry(from: way.origin, way.first)
        case 2: mesh.carry(from: way.transit, way.second)
        default: mesh.endTurn()
        }
    }
    let delivered = mesh.hosts[way.destination].deliveredCount
    precondition(delivered == batch * (batches + 1), "\(delivered) messages have arrived")
}

/// A channel with a subscriber on each of 16 nodes.
private func benchManyReceivers(_ bench: inout Bench, _ mesh: inout MemoryMesh) {
    let name = Array("channel:news".utf8)
    let key = mesh.hasher.key(.channel, name)
    let receivers = Array(1...16)
    for receiver in receivers { mesh.handle(.directory(key, .add), receiver) }
    mesh.run(for: .seconds(5))

    let before = receivers.map { mesh.hosts[$0].deliveredCount }
    let input = name + [UInt8](repeating: 0x70, count: 128)
    let publication = OutgoingMessage(
        .channel, key, name: Slice(start: 0, count: name.count),
        payload: Slice(start: name.count, count: 128))
    let stages = [
        "path/publish to 16 nodes", "path/all hops to 16 nodes", "path/16 acknowledgements",
    ]
    bench.measureStages(stages, operations: batch, rounds: batches) { stage in
        if stage == 0 {
            for _ in 0..<batch { _ = mesh.publish(publication, input.span, at: 0) }
        } else if stage == 1 {
            mesh.carryAll()
        } else {
            mesh.endTurn()
        }
    }
    for (index, receiver) in receivers.enumerated() {
        let delivered = mesh.hosts[receiver].deliveredCount - before[index]
        precondition(delivered == batch * (batches + 1), "\(delivered) messages have arrived")
    }
}

struct Way {
    var origin = 0
    var first: LinkIndex
    var transit: Int
    var second: LinkIndex
    var destination: Int
}

/// A destination that is two hops from host 0, and the links on the way.
func twoHopWay(_ mesh: inout MemoryMesh) -> Way? {
    for destination in 1..<mesh.hosts.count {
        let id = mesh.hosts[destination].server.node.id
        guard let hop = mesh.hosts[0].server.nextHop(to: id), hop != id,
            let first = mesh.link(of: 0, to: hop)
        else { continue }
        let transit = mesh.hosts[0].wires[first.slot].host
        guard mesh.hosts[transit].server.nextHop(to: id) == id,
            let second = mesh.link(of: transit, to: id)
        else { continue }
        return Way(first: first, transit: transit, second: second, destination: destination)
    }
    return nil
}

extension MemoryMesh {
    func link(of host: Int, to peer: NodeID) -> LinkIndex? {
        hosts[host].server.node.linkStatuses().first { $0.peer == peer }?.index
    }

    /// The work of drivers when they have read all there is: timers that are due, here those of the
    /// acknowledgements, and their consequences.
    mutating func endTurn() {
        runDeadlines()
        carryAll()
    }

    /// Carries until nothing is on the way.
    fileprivate mutating func carryAll() {
        var isQuiet = false
        while !isQuiet {
            isQuiet = true
            for host in 0..<hosts.count {
                for link in 0..<hosts[host].outputs.count where !hosts[host].outputs[link].isEmpty {
                    isQuiet = false
                    carry(from: host, LinkIndex(link))
                }
            }
        }
    }
}
