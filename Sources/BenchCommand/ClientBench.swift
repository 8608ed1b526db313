import MeshCore
import MeshDriver
import MeshWire

/// A node's work for its own clients: their PUBLISH, and a message of another node for them.
func benchClients(_ bench: inout Bench) {
    guard bench.wants("clients") else { return }
    var mesh = MemoryMesh.settled(count: 2, degree: 8)
    let home = 0
    let elsewhere = 1
    let near = mesh.open(home)!
    let far = mesh.open(elsewhere)!
    for count in [0, 1, 100] {
        let channel = "channel:\(count)"
        for _ in 0..<count {
            let receiver = mesh.open(home)!
            mesh.consume(command(["SUBSCRIBE", channel]).span, from: receiver, home)
        }
        mesh.run(for: .seconds(1))
        let input = publications(to: channel)
        let receivers = count == 0 ? "nobody" : count == 1 ? "1 client" : "\(count) clients"
        let rounds = count > 1 ? 40 : batches
        bench.measureStages(
            ["clients/PUBLISH to \(receivers)"], operations: batch, rounds: rounds
        ) { _ in
            mesh.consume(input.span, from: near, home)
            unsafe mesh.flushClients(home) { $1.count }
        }
        guard count > 0 else { continue }
        let link = mesh.link(of: elsewhere, to: mesh.hosts[home].server.node.id)!
        let before = mesh.hosts[home].deliveredCount
        let stages = ["PUBLISH elsewhere for", "message to", "acknowledgement after"]
        bench.measureStages(
            stages.map { "clients/\($0) \(receivers)" }, operations: batch, rounds: rounds
        ) { stage in
            switch stage {
            case 0:
                mesh.consume(input.span, from: far, elsewhere)
                unsafe mesh.flushClients(elsewhere) { $1.count }
            case 1:
                mesh.carry(from: elsewhere, link)
                unsafe mesh.flushClients(home) { $1.count }
            default: mesh.endTurn()
            }
        }
        let delivered = mesh.hosts[home].deliveredCount - before
        precondition(delivered == batch * (rounds + 1), "\(delivered) messages have arrived")
    }
}

/// The whole way: a client's PUBLISH on one node to the `message` of another node's client.
func benchWholeWay(_ bench: inout Bench, _ mesh: inout MemoryMesh) {
    guard let way = twoHopWay(&mesh) else { preconditionFailure("every pair is linked") }
    let channel = "channel:far"
    let publisher = mesh.open(way.origin)!
    let subscriber = mesh.open(way.destination)!
    mesh.consume(command(["SUBSCRIBE", channel]).span, from: subscriber, way.destination)
    mesh.run(for: .seconds(5))

    let input = publications(to: channel)
    let before = mesh.hosts[way.destination].deliveredCount
    let stages = ["RESP to link", "link to link", "link to RESP", "acknowledgement to RESP"]
    bench.measureStages(stages.map { "path/\($0)" }, operations: batch, rounds: batches) { stage in
        switch stage {
        case 0:
            mesh.consume(input.span, from: publisher, way.origin)
            unsafe mesh.flushClients(way.origin) { $1.count }
        case 1: mesh.carry(from: way.origin, way.first)
        case 2:
            mesh.carry(from: way.transit, way.second)
            unsafe mesh.flushClients(way.destination) { $1.count }
        default: mesh.endTurn()
        }
    }
    let delivered = mesh.hosts[way.destination].deliveredCount - before
    precondition(delivered == batch * (batches + 1), "\(delivered) messages have arrived")
}

/// A pipeline of so many messages as a stage takes.
private func publications(to channel: String) -> [UInt8] {
    let publication = command(["PUBLISH", channel, String(repeating: "p", count: 128)])
    return Array(repeatElement(publication, count: batch).joined())
}

/// A command as a Redis client sends it.
func command(_ arguments: [String]) -> [UInt8] {
    var text = "*\(arguments.count)\r\n"
    for argument in arguments { text += "$\(argument.utf8.count)\r\n\(argument)\r\n" }
    return Array(text.utf8)
}
