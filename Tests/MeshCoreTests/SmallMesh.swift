import MeshWire

@testable import MeshCore

/// A few nodes and a network that loses, keeps back and doubles what a test says: the smallest driver
/// of `Node`. Every frame takes a millisecond.
final class SmallMesh {
    final class Host {
        var node: Node
        /// The other end of each link, and the link there.
        var wires: [LinkIndex: (host: Int, link: LinkIndex)] = [:]
        var isUp = true
        init(_ node: consuming Node) { self.node = node }
    }

    struct Delivery: Equatable {
        var host: Int
        var payload: [UInt8]
    }

    struct Report: Equatable {
        var host: Int
        var sender: UInt64
        var count: Int32
        var name: String
    }

    enum Verdict { case pass, drop, double, delay(Delay) }

    private struct Parcel {
        var time: Instant
        var order: Int
        var event: (SmallMesh) -> Void
    }

    private(set) var now = Instant(nanoseconds: 1_000_000_000)
    let hosts: [Host]
    private var parcels: [Parcel] = []
    private var order = 0
    private var effects = EffectBuffer()
    let hasher = KeyHasher(cluster: "small")
    /// What becomes of a frame.
    var judge: (_ from: Int, _ to: Int, _ frame: [UInt8]) -> Verdict = { _, _, _ in .pass }

    private(set) var deliveries: [Delivery] = []
    /// What each of them is called in the mesh.
    private(set) var identities: [MessageID] = []
    private(set) var reports: [Report] = []
    private(set) var gaps: [UInt32] = []
    private(set) var uncongestedCount = 0
    private(set) var isCongested = false
    private(set) var isHeld = false
    /// Of the last event.
    private(set) var congestion: Congestion?
    /// Messages, not control, that have left each host.
    private(set) var sentCount = [Int](repeating: 0, count: 8)

    /// Nodes that know and are linked with each other; the first one starts first.
    init(_ count: Int, configure: (inout Configuration) -> Void = { _ in }) {
        var hosts: [Host] = []
        for number in 0..<count {
            let endpoint = Endpoint(ipv4: 0x0A00_0000 + UInt32(number), port: 7_400)
            var configuration = Configuration(
                endpoint: endpoint, name: "n\(number)",
                seeds: number == 0 ? [] : [Endpoint(ipv4: 0x0A00_0000, port: 7_400)])
            configure(&configuration)
            hosts.append(
                Host(
                    Node(
                        id: NodeID(UInt64(number + 1) << 60),
                        incarnation: Incarnation(
                            bootMilliseconds: 1_700_000_000_000 + UInt64(number)),
                        seed: UInt64(number), configuration: configuration, hasher: hasher,
                        at: now)))
        }
        self.hosts = hosts
        run(for: .seconds(2))
        for host in hosts { precondition(host.node.tableSizes().members == count) }
    }

    // MARK: Clients

    func key(_ user: String) -> Key { hasher.key(.user, Array(user.utf8)) }

    func attach(_ user: String, at host: Int) {
        handle(host, .directory(key(user), .add))
        run(for: .milliseconds(50))
    }

    func detach(_ user: String, at host: Int) {
        handle(host, .directory(key(user), .remove))
        run(for: .milliseconds(50))
    }

    /// Returns to how many other nodes it goes.
    @discardableResult
    func send(
        _ payload: [UInt8], from host: Int, to user: String, sender: UInt64 = 0,
        isVolatile: Bool = false
    ) -> Int {
        let name = Array(user.utf8)
        return publish(
            host,
            OutgoingMessage(
                .user, key(user), name: Slice(start: 0, count: name.count),
                payload: Slice(start: name.count, count: payload.count), sender: sender,
                isVolatile: isVolatile), name + payload)
    }

    /// Returns to how many other nodes it goes.
    @discardableResult
    func publish(_ number: Int, _ message: OutgoingMessage, _ bytes: [UInt8]) -> Int {
        let host = hosts[number]
        guard host.isUp else { return 0 }
        let outcome = host.node.publish(message, bytes: bytes.span, at: now, into: &effects)
        if outcome.congestion != nil { isCongested = true }
        isHeld = outcome.verdict == .parked
        congestion = outcome.congestion
        performAll(number, bytes)
        return outcome.nodeCount
    }

    func memberCount(at host: Int) -> Int { hosts[host].node.tableSizes().members }
    func patternCount(at host: Int) -> Int { hosts[host].node.patternCount }
    func protocolErrors(at host: Int) -> UInt64 { hosts[host].node.counters[.protocolErrors] }

    /// What a host says of itself.
    func record(_ host: Int) -> MemberRecord { hosts[host].node.members[0].record }

    /// The link of one host to another, nil: there is none.
    func link(from host: Int, to peer: Int) -> LinkIndex? {
        hosts[host].wires.keys.sorted().first { hosts[host].wires[$0]!.host == peer }
    }

    /// Hands a forged message to a host, as if it had come over one of its links.
    func inject(_ message: Message, to host: Int, from peer: Int) {
        var bytes = ByteQueue()
        _ = bytes.appendLinkFrame(message)
        inject(
            bytes.withSpan { $0.array(Slice(start: 0, count: $0.count)) }, to: host, from: peer)
    }

    /// Hands a forged frame to a host, as if it had come over one of its links.
    func inject(_ frame: [UInt8], to host: Int, from peer: Int) {
        let link = self.link(from: host, to: peer)!
        var needed = 0
        let prefix = try! FramePrefix.read(frame.span, at: 0, needed: &needed)!
        handle(host, .received(prefix, start: 0, from: link), frame)
    }

    func forget() {
        deliveries = []
        identities = []
        reports = []
        uncongestedCount = 0
        isCongested = false
    }

    func payloads(at host: Int) -> [[UInt8]] {
        deliveries.filter { $0.host == host }.map(\.payload)
    }

    // MARK: Faults

    /// The process ends: its connections are reset, new ones refused.
    func crash(_ host: Int) {
        hosts[host].isUp = false
        for (link, _) in hosts[host].wires.sorted(by: { $0.key < $1.key }) {
            cut(host, link)
        }
    }

    /// Resets the connection between two hosts; what is on its way over it is lost.
    func reset(_ one: Int, _ other: Int) {
        guard let (link, end) = hosts[one].wires.first(where: { $0.value.host == other })
        else { return }
        hosts[one].wires[link] = nil
        hosts[other].wires[end.link] = nil
        handle(one, .disconnected(link, .closed))
        handle(other, .disconnected(end.link, .closed))
    }

    func leave(_ host: Int) { handle(host, .leave) }

    /// One side closes; the other hears of it after all that is on its way.
    private func cut(_ host: Int, _ link: LinkIndex) {
        guard let end = hosts[host].wires.removeValue(forKey: link),
            isJoined(end.host, end.link, to: host, link)
        else { return }
        schedule(.milliseconds(1)) { mesh in
            guard mesh.isJoined(end.host, end.link, to: host, link) else { return }
            mesh.hosts[end.host].wires[end.link] = nil
            mesh.handle(end.host, .disconnected(end.link, .closed))
        }
    }

    private func isJoined(
        _ host: Int, _ link: LinkIndex, to other: Int, _ otherLink: LinkIndex
    ) -> Bool {
        guard let wire = hosts[host].wires[link] else { return false }
        return wire.host == other && wire.link == otherLink
    }

    // MARK: Time

    func run(for delay: Delay) {
        let end = now + delay
        while true {
            var next = end
            for parcel in parcels { next = min(next, parcel.time) }
            for host in hosts where host.isUp {
                if let due = host.node.nextDeadline { next = min(next, due) }
            }
            now = max(now, next)
            if let first = parcels.indices.min(by: {
                (parcels[$0].time, parcels[$0].order) < (parcels[$1].time, parcels[$1].order)
            }), parcels[first].time <= now {
                let parcel = parcels.remove(at: first)
                parcel.event(self)
                continue
            }
            var isQuiet = true
            for number in hosts.indices where hosts[number].isUp {
                guard let due = hosts[number].node.nextDeadline, due <= now else { continue }
                handle(number, .deadline)
                isQuiet = false
            }
            if isQuiet, now >= end { return }
        }
    }

    private func schedule(_ delay: Delay, _ event: @escaping (SmallMesh) -> Void) {
        order += 1
        parcels.append(Parcel(time: now + delay, order: order, event: event))
    }

    func handle(_ number: Int, _ event: Event, _ bytes: [UInt8] = []) {
        let host = hosts[number]
        guard host.isUp else { return }
        host.node.handle(event, bytes: bytes.span, at: now, into: &effects)
        performAll(number, bytes)
    }

    private func performAll(_ number: Int, _ bytes: [UInt8]) {
        for index in 0..<effects.count { perform(effects[index], number, bytes) }
        effects.removeAll()
    }

    private func perform(_ effect: Effect, _ number: Int, _ bytes: [UInt8]) {
        switch effect {
        case .send(let link, let head, let body, let sendClass):
            if sendClass != .control { sentCount[number] += 1 }
            let frame =
                effects.bytes.withSpan { $0.array(head) } + bytes.span.array(body)
            carry(frame, number, link)
        case .dial(let link, let endpoint): dial(number, link, Int(endpoint.low) - 0x0A00_0000)
        case .close(let link): cut(number, link)
        case .deliver(_, _, _, let payload, let id):
            identities.append(id)
            deliveries.append(Delivery(host: number, payload: bytes.span.array(payload)))
        case .deliverKept(_, _, _, let payload, let id):
            identities.append(id)
            let payload = effects.bytes.withSpan { $0.array(payload) }
            deliveries.append(Delivery(host: number, payload: payload))
        case .undelivered(let sender, _, _, let name, _, let count):
            let text = effects.bytes.withSpan { $0.array(name) }
            reports.append(
                Report(
                    host: number, sender: sender, count: count,
                    name: String(decoding: text, as: UTF8.self)))
        case .uncongested: uncongestedCount += 1
        case .gap(_, let count): gaps.append(count)
        case .left: crash(number)
        case .asked, .answered, .traced, .finished, .presence, .log, .memberDied: break
        }
    }

    private func carry(_ frame: [UInt8], _ from: Int, _ link: LinkIndex) {
        guard let end = hosts[from].wires[link] else { return }
        var delay = Delay.milliseconds(1)
        var copies = 1
        switch judge(from, end.host, frame) {
        case .pass: break
        case .drop: copies = 0
        case .double: copies = 2
        case .delay(let more): delay = delay + more
        }
        for _ in 0..<copies {
            schedule(delay) { mesh in
                guard mesh.isJoined(end.host, end.link, to: from, link) else { return }
                mesh.handle(end.host, .heard(end.link))
                var needed = 0
                let prefix = try! FramePrefix.read(frame.span, at: 0, needed: &needed)!
                mesh.handle(end.host, .received(prefix, start: 0, from: end.link), frame)
            }
        }
    }

    private func dial(_ from: Int, _ link: LinkIndex, _ to: Int) {
        schedule(.milliseconds(1)) { mesh in
            // Nobody is at an address beyond the hosts.
            guard mesh.hosts.indices.contains(to), mesh.hosts[to].isUp,
                let other = mesh.hosts[to].node.acceptLink(at: mesh.now)
            else {
                mesh.handle(from, .disconnected(link, .refused))
                return
            }
            mesh.hosts[from].wires[link] = (to, other)
            mesh.hosts[to].wires[other] = (from, link)
            mesh.handle(from, .connected(link))
        }
    }
}

/// What a frame is, for tests that lose some of them.
enum FrameKindOfTest: Equatable {
    case message(sequence: UInt32)
    case acknowledge
    case skip
    case other
}

func classify(_ frame: [UInt8]) -> FrameKindOfTest {
    guard frame[4] == FrameKind.routed.rawValue else { return .other }
    if frame[7] != RoutedBody.control.rawValue {
        return .message(sequence: Destination.read(frame.span, frame: 0, index: 0).sequence)
    }
    let start = Frame.routedHeaderSize + Frame.destinationSize
    switch try? Message.decode(frame.span, from: start, to: frame.count) {
    case .acknowledge: return .acknowledge
    case .skip: return .skip
    default: return .other
    }
}
