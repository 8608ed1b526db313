import MeshCore
import MeshWire

/// A member that sends whatever it likes: well-formed frames with any contents, through the whole
/// `Node`. Nothing may trap or go on for ever, and the node must keep to its bounds and go on
/// serving.
///
/// The first byte says whether the peer says hello first (even) and how much time passes between
/// its frames; then come the frames.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzNode(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    guard count > 1 else { return 0 }
    let input = [UInt8](unsafe UnsafeBufferPointer(start: start, count: count))
    var subject = Subject()
    let link = subject.accept()
    if input[0] & 1 == 0 { subject.greet(over: link) }
    let pause = Delay.milliseconds(Int64(input[0] >> 1) * 4)
    subject.receive(input, from: 1, over: link, pause: pause)
    subject.rest()
    subject.check()
    return 0
}

/// A node with one accepted connection, and nobody else whom it could reach.
struct Subject: ~Copyable {
    // The ids of the seeds, so that frames can name the node and its peer.
    static let own = NodeID(0x99AA_BBCC_DDEE_FF00)
    static let peer = NodeID(0x1122_3344_5566_7788)
    static let life: UInt64 = 1_700_000_000_000
    static let degree = 8

    private let hasher = KeyHasher(cluster: "smallworld")
    private var node: Node
    private var effects = EffectBuffer()
    private var now = Instant(nanoseconds: 1_000_000_000_000)
    /// Slots whose dial has not been answered yet.
    private var dialled: [LinkIndex] = []
    private var closed: [LinkIndex] = []
    private var eventCount = 0

    init() {
        var configuration = Configuration(
            endpoint: Endpoint(ipv4: 0x0A00_0002, port: 7400), name: "subject")
        configuration.degree = Self.degree
        configuration.recentRecordCount = 64
        node = Node(
            id: Self.own, incarnation: Incarnation(bootMilliseconds: Self.life), seed: 7,
            configuration: configuration, hasher: hasher, at: now)
        handle(.directory(Key(77), .add), [])
    }

    mutating func accept() -> LinkIndex {
        guard let link = node.acceptLink(at: now) else { preconditionFailure("no slot is free") }
        return link
    }

    mutating func greet(over link: LinkIndex) {
        let clusterID = hasher.key(.room, Array("smallworld".utf8)).rawValue
        var hello = ByteQueue()
        _ = hello.appendLinkFrame(
            .hello(
                Greeting(
                    cluster: "smallworld", clusterID: clusterID, purpose: .neighbour, stratum: 0,
                    member: MemberRecord(
                        id: Self.peer, incarnation: Incarnation(bootMilliseconds: Self.life),
                        standing: .alive, endpoint: Endpoint(ipv4: 0x0A00_0001, port: 7400),
                        name: "peer", zone: ""))))
        let bytes = hello.withSpan { $0.array(Slice(start: 0, count: $0.count)) }
        receive(bytes, from: 0, over: link, pause: .zero)
        precondition(node.tableSizes().links == 1, "a proper peer was not accepted")
    }

    /// Frames as the reactor takes them from a connection, until one cannot be.
    mutating func receive(_ bytes: [UInt8], from: Int, over link: LinkIndex, pause: Delay) {
        var offset = from
        while offset < bytes.count, !closed.contains(link) {
            var needed = 0
            guard
                let prefix = try? FramePrefix.read(bytes.span, at: offset, needed: &needed)
            else {
                handle(.disconnected(link, .misbehaved), [])
                return
            }
            handle(.heard(link), [])
            handle(.received(prefix, start: offset, from: link), bytes)
            offset += prefix.length
            advance(by: pause)
        }
        if !closed.contains(link), from > 0 { handle(.disconnected(link, .closed), []) }
    }

    /// Ten seconds in which nothing comes: suspicions, deaths and repairs take their course.
    mutating func rest() { advance(by: .seconds(10)) }

    private mutating func advance(by delay: Delay) {
        let end = now + delay
        var turns = 0
        while let due = node.nextDeadline, !(end < due) {
            if now < due { now = due }
            handle(.deadline, [])
            turns += 1
            precondition(turns < 20_000, "its timers do not let time pass")
        }
        now = end
    }

    private mutating func handle(_ event: Event, _ bytes: [UInt8]) {
        eventCount += 1
        node.handle(event, bytes: bytes.span, at: now, into: &effects)
        perform(byteCount: bytes.count)
        let nothing: [UInt8] = []
        while let link = dialled.popLast() {
            node.handle(
                .disconnected(link, .refused), bytes: nothing.span, at: now, into: &effects)
            perform(byteCount: 0)
        }
    }

    private mutating func perform(byteCount: Int) {
        precondition(effects.count < 100_000, "\(effects.count) effects of one event")
        let headCount = effects.bytes.count
        for index in 0..<effects.count {
            switch effects[index] {
            case .send(let link, let head, let body, _):
                precondition(head.start >= 0 && head.count >= 0 && head.end <= headCount)
                precondition(body.start >= 0 && body.count >= 0 && body.end <= byteCount)
                precondition(link >= 0 && Int(link) < node.configuration.linkSlotCount)
            case .deliver(_, _, let name, let payload, _):
                precondition(name.start >= 0 && name.end <= byteCount)
                precondition(payload.start >= 0 && payload.end <= byteCount)
            case .asked(_, _, let slice), .answered(_, _, let slice), .traced(_, _, let slice):
                precondition(slice.start >= 0 && slice.count >= 0 && slice.end <= byteCount)
            case .dial(let link, _):
                closed.removeAll { $0 == link }
                dialled.append(link)
            case .close(let link):
                closed.append(link)
                dialled.removeAll { $0 == link }
            case .deliverKept(_, _, let name, let payload, _):
                precondition(name.start >= 0 && name.end <= headCount)
                precondition(payload.start >= 0 && payload.end <= headCount)
            case .undelivered(_, _, _, let name, _, let count):
                precondition(name.start >= 0 && name.end <= headCount && count > 0)
            case .presence, .finished, .log, .left, .uncongested, .gap, .memberDied: break
            }
        }
        effects.removeAll()
    }

    /// What must be true after whatever has come.
    mutating func check() {
        let sizes = node.tableSizes()
        precondition(sizes.links <= Self.degree)
        precondition(node.linkStatuses().count == sizes.links)
        let members = node.memberStatuses()
        precondition(members.filter { $0.isSelf }.count == 1, "it has lost itself")
        precondition(members.first { $0.isSelf }!.standing == .alive, "it believes to be dead")
        precondition(node.isHeld(Key(77)), "it has lost what its own client subscribed to")
        precondition(node.holders(of: Key(77)).contains(Self.own))
        // It accepts a proper peer, and publishes.
        let nothing: [UInt8] = []
        _ = node.publish(
            OutgoingMessage(.channel, Key(77), name: .empty, payload: .empty),
            bytes: nothing.span, at: now, into: &effects)
        perform(byteCount: 0)
        precondition(node.acceptLink(at: now) != nil, "no slot has become free")
    }
}
