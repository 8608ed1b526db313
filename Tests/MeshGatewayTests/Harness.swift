import MeshCore
import MeshWire

@testable import MeshGateway

/// A gateway with a driver around it: sends what a test says and collects what clients would read.
///
/// The rest of the mesh is played: `remoteNodeCount` nodes take each message, `answers` come to
/// each question, and `onlineUsers` are online.
struct Harness: ~Copyable {
    static let hasher = KeyHasher(1, 2)

    var gateway: Gateway
    var now = Instant(nanoseconds: 0)
    var remoteNodeCount = 0
    /// Nil: questions stay open.
    var answers: [[UInt8]]? = []
    var onlineUsers: Set<String> = []
    /// Clients for which `next` has answered `.end`.
    var ended: Set<ClientIndex> = []
    var publications: [Publication] = []
    /// Of what was published and delivered here.
    var lastNumber: UInt32 = 0
    var reports: [Report] = []
    var questions: [(id: QueryID, query: Query, bytes: [UInt8])] = []
    var changes: [InterestChange] = []
    private var inputs: [ClientIndex: [UInt8]] = [:]
    private var offsets: [ClientIndex: Int] = [:]

    init(_ configuration: GatewayConfiguration = GatewayConfiguration(), isReady: Bool = true) {
        gateway = Gateway(configuration, hasher: Self.hasher)
        if isReady { gateway.setReady(true) }
    }

    mutating func open(_ protocolVersion: Int = 2) -> ClientIndex {
        let client = gateway.open(address: "127.0.0.1:\(50_000 + inputs.count)", at: now)!
        inputs[client] = []
        offsets[client] = 0
        ended.remove(client)
        if protocolVersion == 3 { _ = exchange(client, "HELLO 3\r\n") }
        return client
    }

    /// Ends the client's connection; what is still in doubt then is returned.
    @discardableResult
    mutating func close(_ client: ClientIndex, _ parting: Parting = .inOrder) -> [SessionDoubt] {
        let doubts = gateway.close(client, parting)
        takeChanges()
        inputs[client] = nil
        return doubts
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
        inputs[client]! += bytes
        run(client)
    }

    /// Carries out what is complete in the client's input.
    mutating func run(_ client: ClientIndex) {
        let input = inputs[client]!
        var offset = offsets[client]!
        defer {
            inputs[client]!.removeFirst(offset)
            offsets[client] = 0
        }
        while true {
            let before = offset
            var request = gateway.next(input.span, at: &offset, from: client, now: now)
            if case .command = request {
                request = gateway.carryOut(input.span, from: client, now: now)
            }
            precondition(offset >= before && offset <= input.count)
            takeChanges()
            switch request {
            case .incomplete(let needed):
                precondition(needed > input.count - offset, "needed \(needed) is no progress")
                return
            case .blocked:
                return
            case .handled:
                break
            case .publish(let publication):
                publications.append(publication)
                lastNumber += 1
                let bytes = publication.isDecoded ? gateway.decodedLine : input
                gateway.published(
                    publication, bytes.span, by: client, number: lastNumber,
                    nodeCount: remoteNodeCount, isParked: false)
            case .ask(let id, let query):
                questions.append(
                    (id, query, gateway.questionBytes.withSpan { span in Array(copying: span) }))
                guard let answers else { break }
                for answer in answers {
                    gateway.answered(id, Slice(start: 0, count: answer.count), answer.span)
                }
                let unblocked = gateway.finished(id)
                precondition(unblocked == client)
            case .report:
                reports.append(gateway.report)
                answer(gateway.report, client)
            case .command: preconditionFailure("it is carried out")
            case .end:
                ended.insert(client)
                return
            }
        }
    }

    private mutating func answer(_ report: Report, _ client: ClientIndex) {
        switch report {
        case .members: gateway.reply(client, .array([.text("members")]))
        case .links: gateway.reply(client, .array([.text("links")]))
        case .status: gateway.reply(client, .map([("ready", .integer(1))]))
        case .online(let users):
            gateway.reply(client, .array(users.map { .integer(isOnline($0.key) ? 1 : 0) }))
        case .whereabouts: gateway.reply(client, .array([.text("here")]))
        case .watch(let users):
            for (index, user) in users.enumerated() {
                gateway.presenceNow(client, user: index, isOnline: isOnline(user.key))
            }
        case .info(let sections):
            gateway.reply(
                client,
                .verbatim(
                    gateway.information(
                        sections: sections, additional: [("Mesh", ["mesh_members:1"])])))
        case .patternCount: gateway.reply(client, .integer(gateway.patternCount))
        }
    }

    private func isOnline(_ key: Key) -> Bool {
        onlineUsers.contains { Self.hasher.key(.user, Array($0.utf8)) == key }
    }

    private mutating func takeChanges() {
        changes += gateway.changes
        gateway.changes.removeAll()
    }

    /// What waits for the client, taken as if it had read it.
    mutating func readBytes(_ client: ClientIndex) -> [UInt8] {
        var bytes: [UInt8] = []
        gateway.dirty.removeAll { $0 == client }
        gateway.flush(client) { raw in
            unsafe bytes.append(contentsOf: raw)
            return raw.count
        }
        return bytes
    }

    mutating func read(_ client: ClientIndex) -> String {
        String(decoding: readBytes(client), as: UTF8.self)
            .split(separator: "\r\n", omittingEmptySubsequences: false).joined(separator: "·")
    }

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
        return gateway.deliver(
            body, key, name: Slice(start: 0, count: nameBytes.count),
            payload: Slice(start: nameBytes.count, count: bytes.count - nameBytes.count),
            bytes.span, id: MessageID(origin: origin, number: number ?? 1_000_000 + lastNumber))
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
