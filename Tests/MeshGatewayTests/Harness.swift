import MeshDriver
import MeshWire
import Testing

@testable import MeshCore
@testable import MeshGateway
@testable import MeshServer

/// The mesh that the harnesses of one test share.
final class SharedMesh {
    var mesh = MemoryMesh(hasher: Harness.hasher, at: Instant(nanoseconds: 0))

    /// No test leaves a message that nobody has, or that is gone from where it waits.
    deinit {
        for host in 0..<mesh.hosts.count {
            let isSound = mesh.hosts[host].server.edge.gateway.hub.hasSoundMailboxes()
            #expect(isSound, "the mailboxes of node \(host)")
        }
    }
}

/// One server of a mesh, with clients: sends what a test says and collects what clients would read.
///
/// The others are real too. What another node does that a real one would not do at this moment is
/// done to the server's gateway by hand (`deliver`, `gateway`).
struct Harness: ~Copyable {
    static let hasher = KeyHasher(1, 2)

    let shared: SharedMesh
    let host: Int
    /// Questions of a client are carried to the others at once, and the answers back.
    var carries = true
    private var lastNumber: UInt32 = 0

    /// - Parameter peerCount: other servers that this one knows.
    init(
        _ configuration: GatewayConfiguration = GatewayConfiguration(), peerCount: Int = 0,
        isReady: Bool = true
    ) {
        shared = SharedMesh()
        host = 0
        // One that has nobody to join stays as it was born.
        shared.append(configuration, seeds: isReady ? [] : [MemoryMesh.endpoint(1)])
        for _ in 0..<peerCount {
            shared.append(configuration, seeds: [MemoryMesh.endpoint(0)])
        }
        if peerCount > 0 { shared.join() }
    }

    init(_ shared: SharedMesh, _ host: Int) {
        self.shared = shared
        self.host = host
        carries = false
    }

    var gateway: Gateway {
        _read { yield shared.mesh.hosts[host].server.edge.gateway }
        nonmutating _modify { yield &shared.mesh.hosts[host].server.edge.gateway }
    }

    var now: Instant { shared.mesh.now }
    var nodeID: NodeID { shared.mesh.hosts[host].server.node.id }

    /// One of the other servers.
    func peer(_ number: Int) -> Harness { Harness(shared, number) }

    /// Clients whose connections the server wants ended.
    var ended: Set<ClientIndex> {
        Set(
            (ClientIndex(0)..<shared.mesh.hosts[host].clientEnd).filter {
                shared.mesh.hasClient($0, host) && shared.mesh.isEnded($0, host)
            })
    }

    /// Questions of clients that other nodes have not answered, in the order in which they were asked.
    var questions: [QueryID] { gateway.hub.questions.ids.sorted { $0.rawValue < $1.rawValue } }

    /// Changes that the node has been told of, but for watches.
    var changes: [RecentRecords.Entry] {
        let sequence = shared.mesh.hosts[host].server.node.members[.oneself].log.sequence
        return shared.mesh.hosts[host].server.node.directory.recent.records(
            of: nodeID, after: 0, through: sequence) ?? []
    }

    /// How often that was.
    var changeCount: Int { Int(shared.mesh.hosts[host].server.node.members[.oneself].log.sequence) }

    /// A field of each line of the log that tells of this counter.
    func troubles(_ counter: String, _ field: String) -> [String] {
        shared.mesh.hosts[host].logLines.filter { $0.event == "clientTrouble" }
            .map { line in
                func value(_ name: String) -> String {
                    switch line.fields.first(where: { $0.0 == name })?.1 {
                    case .text(let text): text
                    case .integer(let number): "\(number)"
                    case nil: ""
                    }
                }
                return (value("counter"), value(field))
            }
            .filter { $0.0 == counter }.map(\.1)
    }

    /// Messages that clients of this node have sent, to whomever.
    var publicationCount: Int { Int(shared.mesh.hosts[host].server.node.flows.lastNumber) }

    // MARK: Clients

    mutating func open(_ protocolVersion: Int = 2) -> ClientIndex {
        let count = shared.mesh.hosts[host].clientEnd
        let client = shared.mesh.open(host, address: "127.0.0.1:\(50_000 + count.slot)")!
        // Where nothing is carried by itself, no confirmation waits for the others to know.
        if !carries { gateway.hub.clients[client.slot].flags.insert(.confirmsLocally) }
        if protocolVersion == 3 { _ = exchange(client, "HELLO 3\r\n") }
        return client
    }

    /// Ends the client's connection; what is still in doubt then is returned.
    @discardableResult
    mutating func close(_ client: ClientIndex, _ parting: Parting = .inOrder) -> [SessionDoubt] {
        guard let number = shared.mesh.close(client, host, parting) else { return [] }
        return shared.mesh.hosts[host].server.doubts[number]!
    }

    /// Lets the client send text, and returns what all this has made it read: `·` is CR LF.
    mutating func exchange(_ client: ClientIndex, _ text: String) -> String {
        send(client, Array(text.utf8))
        return read(client)
    }

    mutating func exchange(_ client: ClientIndex, _ arguments: [[UInt8]]) -> String {
        send(client, command(arguments))
        return read(client)
    }

    mutating func send(_ client: ClientIndex, _ bytes: [UInt8]) {
        shared.mesh.send(bytes, from: client, host)
        if carries, shared.mesh.hosts.count > 1 { shared.mesh.run(for: .zero) }
    }

    /// Carries out what is complete in the client's input.
    mutating func run(_ client: ClientIndex) { send(client, []) }

    /// The bytes that wait for the client, taken as if it had read them.
    mutating func readBytes(_ client: ClientIndex) -> [UInt8] { shared.mesh.read(client, host) }

    mutating func read(_ client: ClientIndex) -> String {
        shared.mesh.readText(client, host)
    }

    /// The server begins to leave the mesh.
    mutating func leave() { shared.mesh.handle(.leave, host) }

    /// Lets time pass for all servers.
    mutating func pass(_ delay: Delay) { shared.mesh.run(for: delay) }

    // MARK: Other nodes, played

    /// A message from another node: a new one, or the one with this number among that node's.
    @discardableResult
    mutating func deliver(
        _ body: RoutedBody, _ name: String, _ payload: String, number: UInt32? = nil,
        from origin: NodeID = NodeID(9)
    ) -> Int {
        lastNumber += 1
        let nameBytes = Array(name.utf8)
        let bytes = nameBytes + Array(payload.utf8)
        let key = Self.hasher.key(TopicKind(body)!.keyKind, nameBytes)
        gateway.hub.now = now
        return gateway.hub.deliver(
            body, key, name: Slice(start: 0, count: nameBytes.count),
            payload: Slice(start: nameBytes.count, count: bytes.count - nameBytes.count),
            bytes.span, id: MessageID(origin: origin, number: number ?? 1_000_000 + lastNumber))
    }

    /// The question of another node, and this one's answer.
    mutating func asked(_ question: [UInt8], by asker: NodeID = NodeID(2)) -> [UInt8] {
        var answer = ByteQueue()
        gateway.hub.answer(
            Slice(start: 0, count: question.count), question.span, from: asker, into: &answer)
        return answer.withSpan { Array(copying: $0) }
    }

    /// A part of a session from another node.
    mutating func receivePart(_ part: [UInt8], from giver: NodeID = NodeID(2)) {
        gateway.hub.now = now
        gateway.hub.receivePart(Slice(start: 0, count: part.count), part.span, from: giver)
    }

    /// The forged answer of another server, which stands still, to the open question.
    mutating func forge(_ answer: [UInt8], from peer: Int) {
        shared.mesh.inject(
            controlFrame(
                from: shared.mesh.hosts[peer].server.node.id, to: nodeID
            ) { $0.append(answer: questions[0], answer) }, to: host, from: peer)
    }

    /// The other servers stand still: they answer nothing, for as long as nobody notices.
    mutating func freezePeers() {
        for number in 0..<shared.mesh.hosts.count where number != host {
            shared.mesh.freeze(number)
        }
    }

    mutating func thawPeers() {
        for number in 0..<shared.mesh.hosts.count where number != host {
            shared.mesh.thaw(number)
        }
    }
}

extension SharedMesh {
    /// One more server; its node's number is its place, from one.
    func append(_ configuration: GatewayConfiguration, seeds: [Endpoint]) {
        let number = mesh.hosts.count
        var options = ServerOptions(
            node: Configuration(
                endpoint: MemoryMesh.endpoint(number), name: "n\(number)", seeds: seeds))
        options.node.recentRecordCount = 1_024
        options.gateway = configuration
        options.gateway.clientAddress = "10.0.0.\(number + 1):7379"
        mesh.append(options, id: NodeID(UInt64(number + 1)), seed: UInt64(number))
    }

    /// Runs until all know each other.
    func join() {
        mesh.run(for: .seconds(2))
        precondition(mesh.allKnowEachOther(mesh.hosts.count))
    }
}

/// A control message of a node to another, in no flow.
func controlFrame(
    from origin: NodeID, to destination: NodeID, _ write: (inout ByteQueue) -> Void
) -> [UInt8] {
    var queue = ByteQueue()
    queue.appendRoutedHeader(
        length: 0, [], hopsLeft: 3, body: RoutedBody.control.rawValue, origin: origin,
        key: Key(0), destinationCount: 1, number: 0, nameLength: 0, hopsTaken: 0)
    queue.append(Destination(id: destination, sequence: 0, potential: 0))
    write(&queue)
    queue.overwrite(integer: UInt32(queue.count), at: 0)
    return queue.withSpan { Array(copying: $0) }
}

extension ByteQueue {
    fileprivate mutating func append(answer question: QueryID, _ answer: [UInt8]) {
        append(
            answer: question.rawValue, isTrace: false, Slice(start: 0, count: answer.count),
            answer.span)
    }
}

extension Array<UInt8> {
    init(copying span: Span<UInt8>) {
        self.init()
        reserveCapacity(span.count)
        for index in span.indices { append(span[index]) }
    }
}

/// A RESP array of bulk strings.
func command(_ arguments: [[UInt8]]) -> [UInt8] {
    var bytes = Array("*\(arguments.count)\r\n".utf8)
    for argument in arguments {
        bytes += Array("$\(argument.count)\r\n".utf8) + argument + [0x0D, 0x0A]
    }
    return bytes
}

func command(_ arguments: String...) -> [UInt8] { command(arguments.map { Array($0.utf8) }) }

/// A small generator with a fixed seed (SplitMix64), so that each run tests the same.
struct Dice {
    var state: UInt64
    mutating func roll(_ bound: Int) -> Int {
        state &+= 0x9E37_79B9_7F4A_7C15
        var word = state
        word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
        word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
        return Int((word ^ (word >> 31)) % UInt64(bound))
    }
}
