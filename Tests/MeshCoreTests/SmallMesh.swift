import MeshDriver
import MeshWire

@testable import MeshCore
@testable import MeshServer

/// A few servers without clients, and what their nodes want done for clients: the tests of `Node`.
/// Every frame takes a millisecond.
final class SmallMesh {
    struct Delivery: Equatable {
        var host: Int
        var payload: [UInt8]
    }

    /// A part of a session that has come to a host.
    struct Part: Equatable {
        var host: Int
        var from: NodeID
        var payload: [UInt8]
    }

    struct Report: Equatable {
        var host: Int
        var sender: UInt64
        var count: Int32
        var name: String
    }

    /// The effects of the nodes, so far.
    fileprivate final class Journal {
        var deliveries: [Delivery] = []
        var identities: [MessageID] = []
        var reports: [Report] = []
        var gaps: [UInt32] = []
        var uncongestedCount = 0
        var parts: [Part] = []
        var givenUp: [UInt32] = []
        var bulkGaps: [UInt32] = []
        var rooms: [NodeID] = []
        var sentCount = [Int](repeating: 0, count: 8)
    }

    private var mesh: MemoryMesh
    private let journal = Journal()
    let hasher = KeyHasher(cluster: "small")

    var deliveries: [Delivery] { journal.deliveries }
    /// The name of each of them in the mesh.
    var identities: [MessageID] { journal.identities }
    var reports: [Report] { journal.reports }
    var gaps: [UInt32] { journal.gaps }
    var uncongestedCount: Int { journal.uncongestedCount }
    /// Of the bulk lane.
    var parts: [Part] { journal.parts }
    var givenUp: [UInt32] { journal.givenUp }
    var bulkGaps: [UInt32] { journal.bulkGaps }
    var rooms: [NodeID] { journal.rooms }
    /// Messages, not control, that have left each host.
    var sentCount: [Int] { journal.sentCount }

    private(set) var isCongested = false
    private(set) var isHeld = false
    /// Of the last event.
    private(set) var congestion: Congestion?

    /// Nodes that know and are linked with each other; the first one starts first.
    init(_ count: Int, configure: (inout Configuration) -> Void = { _ in }) {
        mesh = MemoryMesh(
            hasher: hasher, latency: .milliseconds(1), at: Instant(nanoseconds: 1_000_000_000))
        for number in 0..<count {
            var configuration = Configuration(
                endpoint: MemoryMesh.endpoint(number), name: "n\(number)",
                seeds: number == 0 ? [] : [MemoryMesh.endpoint(0)])
            configure(&configuration)
            mesh.append(
                ServerOptions(node: configuration), id: NodeID(UInt64(number + 1) << 60),
                seed: UInt64(number))
        }
        mesh.witness = { [journal] in journal.note($0, $1, $2) }
        run(for: .seconds(2))
        precondition(mesh.allKnowEachOther(count))
    }

    // MARK: Hosts

    var now: Instant { mesh.now }
    var hosts: Slab<MemoryHost> {
        _read { yield mesh.hosts }
        _modify { yield &mesh.hosts }
    }

    /// Decides about each frame.
    var judge: (_ from: Int, _ to: Int, _ frame: [UInt8]) -> MemoryMesh.Verdict {
        get { mesh.judge ?? { _, _, _ in .pass } }
        set { mesh.judge = newValue }
    }

    /// Sees each node after each of its events.
    var inspector: ((_ host: Int, _ node: borrowing Node) -> Void)? {
        get { mesh.inspector }
        set { mesh.inspector = newValue }
    }

    func ids(_ hosts: Range<Int>) -> [NodeID] { hosts.map { mesh.hosts[$0].node.id } }

    func memberCount(at host: Int) -> Int { mesh.hosts[host].node.tableSizes().members }
    func patternCount(at host: Int) -> Int { mesh.hosts[host].node.patternCount }
    func protocolErrors(at host: Int) -> UInt64 { mesh.hosts[host].node.counters[.protocolErrors] }

    /// A host's own record.
    func record(_ host: Int) -> MemberRecord { mesh.hosts[host].node.members[.oneself].record }

    /// The link of one host to another, nil: there is none.
    func link(from host: Int, to peer: Int) -> LinkIndex? { mesh.hosts[host].link(to: peer) }

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
    func publish(_ host: Int, _ message: OutgoingMessage, _ bytes: [UInt8]) -> Int {
        guard mesh.hosts[host].isUp else { return 0 }
        let outcome = mesh.publish(message, bytes.span, at: host)
        if outcome.congestion != nil { isCongested = true }
        isHeld = outcome.verdict == .parked
        congestion = outcome.congestion
        return outcome.nodeCount
    }

    /// Sends a part of a session from one host to another's driver.
    @discardableResult
    func sendSession(_ payload: [UInt8], from host: Int, to other: Int) -> BulkOutcome {
        let destination = mesh.hosts[other].node.id
        return mesh.sendSession(payload, to: destination, at: host)
    }

    func sendSession(_ payload: [UInt8], from host: Int, toStranger id: NodeID) -> BulkOutcome {
        mesh.sendSession(payload, to: id, at: host)
    }

    /// The congestion that a small message to the user would have to wait for.
    func congestion(of user: String, at host: Int) -> Congestion? {
        let message = OutgoingMessage(.user, key(user), name: .empty, payload: .empty)
        return mesh.hosts[host].node.congestion(of: message)
    }

    /// Two hosts that cannot have a link with each other.
    var apart: (Int, Int)? {
        get { mesh.apart }
        set { mesh.apart = newValue }
    }

    func parts(at host: Int) -> [[UInt8]] {
        parts.filter { $0.host == host }.map(\.payload)
    }

    func forget() {
        journal.deliveries = []
        journal.identities = []
        journal.reports = []
        journal.uncongestedCount = 0
        isCongested = false
    }

    func payloads(at host: Int) -> [[UInt8]] {
        deliveries.filter { $0.host == host }.map(\.payload)
    }

    // MARK: Events

    func handle(_ host: Int, _ event: Event, _ bytes: [UInt8] = []) {
        mesh.handle(event, bytes: bytes, host)
    }

    func run(for delay: Delay) { mesh.run(for: delay) }

    /// Hands a forged message to a host, as if it had come over one of its links.
    func inject(_ message: Message, to host: Int, from peer: Int) {
        var bytes = ByteQueue()
        _ = bytes.appendLinkFrame(message)
        inject(
            bytes.withSpan { $0.array(Slice(start: 0, count: $0.count)) }, to: host, from: peer)
    }

    /// Hands a forged frame to a host, as if it had come over one of its links.
    func inject(_ frame: [UInt8], to host: Int, from peer: Int) {
        mesh.inject(frame, to: host, from: peer)
    }

    /// A connection of somebody outside the mesh; nil: none is taken.
    func accept(at host: Int) -> LinkIndex? { mesh.accept(at: host) }

    func crash(_ host: Int) { mesh.crash(host) }
    func freeze(_ host: Int) { mesh.freeze(host) }
    func thaw(_ host: Int) { mesh.thaw(host) }
    func reset(_ one: Int, _ other: Int) { mesh.reset(one, other) }
    func leave(_ host: Int) { handle(host, .leave) }
}

extension SmallMesh.Journal {
    func note(
        _ host: Int, _ effects: borrowing EffectBuffer, _ bytes: Span<UInt8>
    ) {
        for index in 0..<effects.count {
            switch effects[index] {
            case .send(_, _, _, let sendClass):
                if sendClass != .control { sentCount[host] += 1 }
            case .deliver(_, _, _, _, let payload, let id):
                identities.append(id)
                deliveries.append(SmallMesh.Delivery(host: host, payload: bytes.array(payload)))
            case .deliverKept(_, _, _, _, let payload, let id):
                identities.append(id)
                let payload = effects.bytes.withSpan { $0.array(payload) }
                deliveries.append(SmallMesh.Delivery(host: host, payload: payload))
            case .deliverLabelled(_, _, _, _, let payload, let id):
                identities.append(id)
                let payload = effects.bytes.withSpan { $0.array(payload) }
                deliveries.append(SmallMesh.Delivery(host: host, payload: payload))
            case .undelivered(let sender, _, _, let name, _, let count):
                let text = effects.bytes.withSpan { $0.array(name) }
                reports.append(
                    SmallMesh.Report(
                        host: host, sender: sender, count: count,
                        name: String(decoding: text, as: UTF8.self)))
            case .uncongested: uncongestedCount += 1
            case .gap(_, let count): gaps.append(count)
            case .bulk(let id, let news): note(host, id, news, effects, bytes)
            default: break
            }
        }
    }
}

extension SmallMesh.Journal {
    private func note(
        _ host: Int, _ id: NodeID, _ news: BulkNews, _ effects: borrowing EffectBuffer,
        _ bytes: Span<UInt8>
    ) {
        switch news {
        case .session(let payload):
            parts.append(SmallMesh.Part(host: host, from: id, payload: bytes.array(payload)))
        case .sessionKept(let payload):
            let payload = effects.bytes.withSpan { $0.array(payload) }
            parts.append(SmallMesh.Part(host: host, from: id, payload: payload))
        case .givenUp(let count): givenUp.append(count)
        case .gap(let count): bulkGaps.append(count)
        case .room: rooms.append(id)
        }
    }
}

extension MemoryHost {
    var node: Node {
        _read { yield server.node }
        _modify { yield &server.node }
    }
}

/// The kind of a frame, for tests that lose some of them.
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
