import MeshCore
import MeshServer
import MeshWire

/// Servers in one process, joined by byte queues instead of connections: a driver without sockets,
/// faults or latency. It exists to measure single steps of a message's way on
/// nodes that have really found each other.
struct MemoryMesh: ~Copyable {
    /// A server and its driver's side.
    struct Host: ~Copyable {
        var server: Server
        var effects = ServerEffects()
        /// Clients that are flushed; reused.
        var dirty: [ClientIndex] = []
        /// What waits to be sent, by link.
        var outputs: Slab<ByteQueue>
        /// The other end of each link.
        var wires: [Wire]
        /// Messages that the node has handed over for its clients.
        var deliveredCount = 0

        /// The present event's effects concern other hosts: links that are to be opened or closed.
        fileprivate var concernsOthers = false

        init(server: consuming Server, linkCount: Int) {
            self.server = server
            outputs = Slab(capacity: linkCount)
            for _ in 0..<linkCount { outputs.append(ByteQueue()) }
            wires = [Wire](repeating: Wire(), count: linkCount)
        }
    }

    struct Wire {
        /// -1: none.
        var host = -1
        var link: LinkIndex = -1
        /// How often the link's slot has been used: what is meant for a former use is dropped.
        var use = 0
    }

    /// Something that happens to a host a moment later, because an event must not interrupt another.
    private struct Turn {
        enum What {
            case connected
            case refused
            case unreachable
            /// The peer has closed the link after these bytes.
            case closed(after: [UInt8])
        }
        var what: What
        var host: Int
        var link: LinkIndex
        var use: Int
    }

    var hosts: Slab<Host>
    private(set) var now = Instant(nanoseconds: 0)
    private var turns: [Turn] = []
    let hasher = KeyHasher(cluster: "bench")

    /// Two hosts that cannot have a link with each other.
    private let apart: (Int, Int)?

    /// `count` nodes of this degree, all with the same seed, run until all know each other and two
    /// more virtual minutes for their links to settle. Where two are kept apart, the host between
    /// them in number is the seed.
    init(count: Int, degree: Int, apart: (Int, Int)? = nil) {
        self.apart = apart
        let seed = apart.map { ($0.0 + $0.1) / 2 } ?? 0
        var random = Generator(state: 42)
        func endpoint(_ number: Int) -> Endpoint {
            Endpoint(ipv4: 0x0A00_0000 + UInt32(number), port: 7_400)
        }
        let hasher = hasher
        hosts = Slab(capacity: count)
        for number in 0..<count {
            var configuration = Configuration(
                endpoint: endpoint(number), name: "n\(number)",
                seeds: number == seed ? [] : [endpoint(seed)])
            configuration.degree = degree
            let node = Node(
                id: NodeID(random.next()),
                incarnation: Incarnation(bootMilliseconds: 1_700_000_000_000 + UInt64(number)),
                seed: random.next(), configuration: configuration, hasher: hasher,
                at: Instant(nanoseconds: 0))
            let server = Server(
                ServerOptions(node: configuration), node: node, hasher: hasher, secret: (1, 2),
                at: Instant(nanoseconds: 0))
            hosts.append(Host(server: server, linkCount: configuration.linkSlotCount))
        }
        let limit = now + .seconds(600)
        while !allKnowEachOther() {
            run(for: .seconds(1))
            precondition(now < limit, "the nodes do not find each other")
        }
        run(for: .seconds(120))
    }

    private func allKnowEachOther() -> Bool {
        for index in 0..<hosts.count
        where hosts[index].server.node.tableSizes().members < hosts.count {
            return false
        }
        return true
    }

    /// Lets virtual time pass.
    mutating func run(for delay: Delay) {
        let end = now + delay
        while true {
            settle()
            var next = end
            for index in 0..<hosts.count {
                if let due = hosts[index].server.nextDeadline() { next = min(next, due) }
            }
            // Never in place: a deadline in the past must not stop the clock.
            now = max(next, now + .microseconds(100))
            if now >= end { return }
            for index in 0..<hosts.count {
                guard let due = hosts[index].server.nextDeadline(), due <= now else { continue }
                handle(.deadline, index)
            }
        }
    }

    /// Carries bytes until none are on the way.
    private mutating func settle() {
        var isQuiet = false
        while !isQuiet {
            isQuiet = turns.isEmpty
            let due = turns
            turns.removeAll()
            for turn in due { take(turn) }
            for sender in 0..<hosts.count {
                for link in 0..<hosts[sender].outputs.count
                where !hosts[sender].outputs[link].isEmpty {
                    isQuiet = false
                    carry(from: sender, LinkIndex(link))
                }
            }
        }
    }

    private mutating func take(_ turn: Turn) {
        guard hosts[turn.host].wires[Int(turn.link)].use == turn.use else { return }
        switch turn.what {
        case .connected: handle(.connected(turn.link), turn.host)
        case .refused: handle(.disconnected(turn.link, .refused), turn.host)
        case .unreachable: handle(.disconnected(turn.link, .unreachable), turn.host)
        case .closed(let bytes):
            receive(bytes.span, turn.host, turn.link)
            guard hosts[turn.host].wires[Int(turn.link)].use == turn.use else { return }
            handle(.disconnected(turn.link, .closed), turn.host)
        }
    }

    /// Gives everything that waits on a link to the host at its other end.
    mutating func carry(from sender: Int, _ link: LinkIndex) {
        let wire = hosts[sender].wires[Int(link)]
        guard wire.host >= 0 else {
            hosts[sender].outputs[Int(link)].removeAll()
            return
        }
        var bytes = ByteQueue()
        swap(&bytes, &hosts[sender].outputs[Int(link)])
        bytes.withSpan { input in
            handle(.heard(wire.link), wire.host)
            receive(input, wire.host, wire.link)
        }
        bytes.removeAll()
        // The memory goes back, unless the receiver's turn has made the sender send already.
        if hosts[sender].outputs[Int(link)].isEmpty {
            swap(&bytes, &hosts[sender].outputs[Int(link)])
        }
    }

    private mutating func receive(_ input: Span<UInt8>, _ host: Int, _ link: LinkIndex) {
        let use = hosts[host].wires[Int(link)].use
        var offset = 0
        var needed = 0
        while offset < input.count, hosts[host].wires[Int(link)].use == use {
            guard let prefix = try? FramePrefix.read(input, at: offset, needed: &needed) else {
                preconditionFailure("a node sent a malformed frame")
            }
            hosts[host].handle(.received(prefix, start: offset, from: link), input, at: now)
            perform(host)
            offset += prefix.length
        }
    }

    /// Events without bytes.
    mutating func handle(_ event: Event, _ host: Int) {
        hosts[host].handle(event, Span(), at: now)
        perform(host)
    }

    /// Ends a host's turn after an event: the effects that concern other hosts; those on bytes are
    /// done already.
    @inline(__always)
    mutating func perform(_ host: Int) {
        if hosts[host].concernsOthers { changeLinks(host) }
        hosts[host].effects.removeAll()
    }

    private mutating func changeLinks(_ host: Int) {
        hosts[host].concernsOthers = false
        for index in 0..<hosts[host].effects.mesh.count {
            switch hosts[host].effects.mesh[index] {
            case .dial(let link, let endpoint): dial(endpoint, for: link, host)
            case .close(let link): close(link, host)
            default: break
            }
        }
    }

    private mutating func dial(_ endpoint: Endpoint, for link: LinkIndex, _ host: Int) {
        let target = Int(endpoint.low) - 0x0A00_0000
        var what = Turn.What.refused
        var peer = Wire()
        if areApart(host, target) {
            what = .unreachable
        } else if target != host, let accepted = hosts[target].server.acceptLink(at: now) {
            connect(target, accepted, to: Wire(host: host, link: link))
            peer = Wire(host: target, link: accepted)
            what = .connected
        }
        connect(host, link, to: peer)
        let use = hosts[host].wires[Int(link)].use
        turns.append(Turn(what: what, host: host, link: link, use: use))
    }

    private func areApart(_ host: Int, _ other: Int) -> Bool {
        guard let apart else { return false }
        return (host, other) == apart || (other, host) == apart
    }

    private mutating func connect(_ host: Int, _ link: LinkIndex, to peer: Wire) {
        let use = hosts[host].wires[Int(link)].use + 1
        hosts[host].wires[Int(link)] = Wire(host: peer.host, link: peer.link, use: use)
    }

    private mutating func close(_ link: LinkIndex, _ host: Int) {
        let peer = hosts[host].wires[Int(link)]
        connect(host, link, to: Wire())
        let last = hosts[host].outputs[Int(link)].withSpan {
            $0.array(Slice(start: 0, count: $0.count))
        }
        hosts[host].outputs[Int(link)].removeAll()
        guard peer.host >= 0 else { return }
        // The peer can send no more, and hears of it in its turn.
        hosts[peer.host].wires[Int(peer.link)].host = -1
        hosts[peer.host].outputs[Int(peer.link)].removeAll()
        let use = hosts[peer.host].wires[Int(peer.link)].use
        turns.append(
            Turn(what: .closed(after: last), host: peer.host, link: peer.link, use: use))
    }
}

extension MemoryMesh.Host {
    /// One event, and the effects that the hot path has: bytes to links.
    @inline(__always)
    mutating func handle(_ event: Event, _ input: Span<UInt8>, at now: Instant) {
        server.handle(event, bytes: input, at: now, into: &effects)
        performBytes(input)
    }

    /// A message of no client, and the same.
    @inline(__always)
    mutating func publish(
        _ message: OutgoingMessage, _ input: Span<UInt8>, at now: Instant
    ) -> PublishOutcome {
        let outcome = server.publish(message, bytes: input, at: now, into: &effects)
        performBytes(input)
        return outcome
    }

    /// A client's command, and the same.
    @inline(__always)
    mutating func command(
        from client: ClientIndex, _ input: Span<UInt8>, at offset: inout Int, now: Instant
    ) -> ClientStep {
        let step = server.command(from: client, input, at: &offset, now: now, into: &effects)
        performBytes(input)
        return step
    }

    @inline(__always)
    private mutating func performBytes(_ input: Span<UInt8>) {
        for index in 0..<effects.mesh.count {
            switch effects.mesh[index] {
            case .send(let link, let head, let body, _):
                send(head, body, input, over: Int(link))
            case .deliver: deliveredCount += 1
            case .dial, .close: concernsOthers = true
            default: break
            }
        }
    }

    @inline(__always)
    private mutating func send(_ head: Slice, _ body: Slice, _ input: Span<UInt8>, over link: Int) {
        // A link that is closed in the same turn has no other end any more.
        guard wires[link].host >= 0 else { return }
        let start = Int(head.start)
        let count = Int(head.count)
        let place = unsafe outputs[link].reserve(count)
        unsafe effects.mesh.bytes.withBytes {
            unsafe place.copyMemory(from: $0.baseAddress! + start, byteCount: count)
        }
        outputs[link].append(input, Int(body.start), Int(body.count))
    }
}
