import MeshCore
import MeshDriver
import MeshGateway
import MeshWire

/// One node's clients: RESP in, RESP out, without the mesh.
func benchGateway(_ bench: inout Bench) {
    guard bench.wants("gateway") else { return }
    let hasher = KeyHasher(cluster: "bench")
    for receivers in [0, 1, 100] {
        var clients = Clients(hasher: hasher)
        for _ in 0..<receivers { clients.subscribe("channel:news") }
        let publisher = clients.open()
        let input = command(["PUBLISH", "channel:news", String(repeating: "p", count: 128)])
        let pipeline = Array(repeatElement(input, count: batch).joined())
        let suffix =
            receivers == 0 ? "nobody" : receivers == 1 ? "1 client" : "\(receivers) clients"
        bench.measureStages(
            ["gateway/PUBLISH to \(suffix)"], operations: batch,
            rounds: receivers > 1 ? 40 : batches
        ) { _ in
            clients.publishAll(pipeline.span, by: publisher)
            clients.flushAll()
        }
        guard receivers > 0 else { continue }
        let name = Array("channel:news".utf8)
        let message = name + [UInt8](repeating: 0x70, count: 128)
        let key = hasher.key(.channel, name)
        bench.measureStages(
            ["gateway/message to \(suffix)"], operations: batch,
            rounds: receivers > 1 ? 40 : batches
        ) { _ in
            for _ in 0..<batch {
                let count = clients.gateway.deliver(
                    .channel, key, name: Slice(start: 0, count: name.count),
                    payload: Slice(start: name.count, count: 128), message.span,
                    id: MessageID(origin: NodeID(1), number: 1))
                precondition(count == receivers)
            }
            clients.flushAll()
        }
    }
}

/// The whole way: a client's PUBLISH on one node to the `message` of another node's client.
func benchClients(_ bench: inout Bench, _ mesh: inout MemoryMesh) {
    guard let way = twoHopWay(&mesh) else { preconditionFailure("every pair is linked") }
    let channel = "channel:far"
    let publisher = mesh.open(way.origin)!
    let subscriber = mesh.open(way.destination)!
    mesh.consume(command(["SUBSCRIBE", channel]).span, from: subscriber, way.destination)
    mesh.run(for: .seconds(5))

    let input = Array(
        repeatElement(
            command(["PUBLISH", channel, String(repeating: "p", count: 128)]), count: batch
        ).joined())
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

/// A gateway with clients and no node.
private struct Clients: ~Copyable {
    var gateway: Gateway
    private let now = Instant(nanoseconds: 1_000_000_000)

    init(hasher: KeyHasher) {
        gateway = Gateway(GatewayConfiguration(), hasher: hasher)
        gateway.setReady(true)
    }

    mutating func open() -> ClientIndex {
        guard let client = gateway.open(address: "10.0.0.1:9", at: now) else {
            preconditionFailure("no room for a client")
        }
        return client
    }

    mutating func subscribe(_ channel: String) {
        let client = open()
        let input = command(["SUBSCRIBE", channel])
        var offset = 0
        guard case .command = gateway.next(input.span, at: &offset, from: client, now: now),
            case .handled = gateway.carryOut(input.span, from: client, now: now)
        else { preconditionFailure("SUBSCRIBE is refused") }
        gateway.changes.removeAll()
    }

    mutating func publishAll(_ input: Span<UInt8>, by client: ClientIndex) {
        var offset = 0
        while case .publish(let publication) = gateway.next(
            input, at: &offset, from: client, now: now)
        {
            gateway.published(
                publication, input, by: client, number: 0, nodeCount: 0, isParked: false)
        }
        precondition(offset == input.count)
    }

    mutating func flushAll() {
        for client in gateway.dirty { unsafe gateway.flush(client) { $0.count } }
        gateway.dirty.removeAll(keepingCapacity: true)
    }
}

/// A command as a Redis client sends it.
func command(_ arguments: [String]) -> [UInt8] {
    var text = "*\(arguments.count)\r\n"
    for argument in arguments { text += "$\(argument.utf8.count)\r\n\(argument)\r\n" }
    return Array(text.utf8)
}
