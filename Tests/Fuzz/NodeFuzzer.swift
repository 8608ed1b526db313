import MeshCore
import MeshDriver
import MeshServer
import MeshWire

/// A member that sends whatever it likes: well-formed frames with any contents, through the whole
/// `Server`. Nothing may trap or go on for ever, and the node must keep to its bounds and go on
/// serving.
///
/// The first byte says whether the peer says hello first (even) and how much time passes between
/// its frames; then come the frames.
func fuzzNode(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    guard count > 1 else { return 0 }
    let input = [UInt8](unsafe UnsafeBufferPointer(start: start, count: count))
    var subject = Subject()
    let link = subject.accept()
    if input[0] & 1 == 0 { subject.greet(over: link) }
    let pause = Delay.milliseconds(Int64(input[0] >> 1) * 4)
    subject.receive(Array(input[1...]), over: link, pause: pause)
    subject.rest()
    subject.check()
    return 0
}

/// A server with one client and one connection from outside, and nobody else whom it could reach.
struct Subject: ~Copyable {
    // The ids of the seeds, so that frames can name the node and its peer.
    static let own = NodeID(0x99AA_BBCC_DDEE_FF00)
    static let peer = NodeID(0x1122_3344_5566_7788)
    static let life: UInt64 = 1_700_000_000_000
    static let degree = 8

    private let hasher = KeyHasher(cluster: "smallworld")
    private var mesh: MemoryMesh
    private let client: ClientIndex
    private let channel: Key

    init() {
        mesh = MemoryMesh(hasher: hasher, at: Instant(nanoseconds: 1_000_000_000_000))
        var configuration = Configuration(endpoint: MemoryMesh.endpoint(0), name: "subject")
        configuration.degree = Self.degree
        configuration.recentRecordCount = 64
        mesh.append(ServerOptions(node: configuration), id: Self.own, seed: 7)
        let slotCount = configuration.linkSlotCount
        mesh.witness = { Self.inspect($1, slotCount: slotCount, byteCount: $2.count) }
        guard let client = mesh.open(0) else { preconditionFailure("it takes no client") }
        self.client = client
        channel = hasher.key(.channel, Array("news".utf8))
        mesh.send(Array("SUBSCRIBE news\r\n".utf8), from: client, 0)
    }

    mutating func accept() -> LinkIndex {
        guard let link = mesh.accept(at: 0) else { preconditionFailure("no slot is free") }
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
                        status: .alive, endpoint: Endpoint(ipv4: 0x0B00_0001, port: 7400),
                        name: "peer", zone: ""))))
        let bytes = hello.withSpan { $0.array(Slice(start: 0, count: $0.count)) }
        mesh.inject(bytes, to: 0, over: link)
        precondition(
            mesh.hosts[0].server.node.tableSizes().links == 1, "a proper peer was not accepted")
    }

    /// Frames as the reactor takes them from a connection, until one cannot be.
    mutating func receive(_ bytes: [UInt8], over link: LinkIndex, pause: Delay) {
        var rest = bytes[...]
        while !rest.isEmpty {
            var needed = 0
            let prefix = try? FramePrefix.read(rest.span, at: 0, needed: &needed)
            let frame = rest.prefix(prefix?.length ?? rest.count)
            // The connection may have ended while time passed.
            guard mesh.stands(link, at: 0), mesh.inject(Array(frame), to: 0, over: link) else {
                return
            }
            rest = rest.dropFirst(frame.count)
            mesh.run(for: pause)
        }
        mesh.hangUp(link, at: 0)
    }

    /// Ten seconds in which nothing comes: suspicions, deaths and repairs take their course.
    mutating func rest() { mesh.run(for: .seconds(10)) }

    /// Slices and links that the effects of an event name must be there.
    private static func inspect(
        _ effects: borrowing EffectBuffer, slotCount: Int, byteCount: Int
    ) {
        precondition(effects.count < 100_000, "\(effects.count) effects of one event")
        let headCount = effects.bytes.count
        for index in 0..<effects.count {
            switch effects[index] {
            case .send(let link, let head, let body, _):
                precondition(head.start >= 0 && head.count >= 0 && head.end <= headCount)
                precondition(body.start >= 0 && body.count >= 0 && body.end <= byteCount)
                precondition(!link.isNone && link.slot < slotCount)
            case .deliver(_, _, _, let name, let payload, _):
                precondition(name.start >= 0 && name.end <= byteCount)
                precondition(payload.start >= 0 && payload.end <= byteCount)
            case .queried(_, _, let slice), .answered(_, _, let slice), .traced(_, _, let slice):
                precondition(slice.start >= 0 && slice.count >= 0 && slice.end <= byteCount)
            case .deliverKept(_, _, _, let name, let payload, _),
                .deliverLabelled(_, _, _, let name, let payload, _):
                precondition(name.start >= 0 && name.end <= headCount)
                precondition(payload.start >= 0 && payload.end <= headCount)
            case .undelivered(_, _, _, let name, _, let count):
                precondition(name.start >= 0 && name.end <= headCount && count > 0)
            case .bulk(_, .session(let payload)):
                precondition(payload.start >= 0 && payload.end <= byteCount)
            case .bulk(_, .sessionKept(let payload)):
                precondition(payload.start >= 0 && payload.end <= headCount)
            case .bulk(_, .givenUp(let count)), .bulk(_, .gap(let count)):
                precondition(count > 0)
            case .bulk(_, .room): break
            case .dial, .close, .presence, .holders, .finished, .log, .left, .takenBack,
                .uncongested, .gap,
                .memberDied, .unanswered, .resolveSeeds, .recordsKnown:
                break
            }
        }
    }

    /// Invariants that must be true after whatever has come.
    mutating func check() {
        let sizes = mesh.hosts[0].server.node.tableSizes()
        precondition(sizes.links <= Self.degree)
        precondition(mesh.hosts[0].server.node.linkStatuses().count == sizes.links)
        let members = mesh.hosts[0].server.node.memberReports()
        precondition(members.filter { $0.isSelf }.count == 1, "it has lost itself")
        precondition(members.first { $0.isSelf }!.status == .alive, "it believes to be dead")
        precondition(
            mesh.hosts[0].server.node.hasHolder(channel),
            "it has lost what its client subscribed to")
        precondition(mesh.hosts[0].server.node.holders(of: channel).contains(Self.own))
        // It accepts a proper peer, and serves its clients.
        _ = mesh.read(client, 0)
        guard let publisher = mesh.open(0) else { preconditionFailure("it takes no client") }
        mesh.send(Array("PUBLISH news all-is-well\r\n".utf8), from: publisher, 0)
        let got = String(decoding: mesh.read(client, 0), as: UTF8.self)
        precondition(got.hasSuffix("$11\r\nall-is-well\r\n"), "a subscriber has read \(got)")
        precondition(mesh.accept(at: 0) != nil, "no slot has become free")
    }
}
