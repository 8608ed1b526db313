import MeshCore
import MeshServer
import MeshWire

/// A few servers in one process and virtual time, joined by byte queues instead of connections: the
/// driver of tests, fuzzers and benches.
///
/// Two ways of carrying bytes. While nothing looks at single frames and they take no time, what a
/// server sends waits in its link's queue and goes over as a whole: the benches measure single steps
/// of a message's way so. With a latency, a judge or a witness each frame is a parcel of its own.
///
/// Bytes are carried by `settle` and `run`, and by nothing else. Virtual time passes in `run` alone.
public struct MemoryMesh: ~Copyable {
    public var hosts: Slab<MemoryHost>
    public internal(set) var now: Instant
    public let hasher: KeyHasher
    /// Each frame, each connection that is dialled, and each end of one takes so long.
    let latency: Delay
    /// On their way, the earliest first; those before `parcelsTaken` have arrived.
    var parcels: [Parcel] = []
    var parcelsTaken = 0
    /// Frames go one by one.
    var isWatched: Bool
    /// Some host has had a client.
    var hasClients = false

    /// Two hosts that cannot have a link with each other.
    public var apart: (Int, Int)?

    /// Decides about each frame. It may not look at the mesh.
    public var judge: ((_ from: Int, _ to: Int, _ frame: [UInt8]) -> Verdict)? {
        didSet { watch() }
    }

    /// Gives the frames that a host of another version sends in the place of each one. It may not look
    /// at the mesh.
    public var translator: ((_ from: Int, _ to: Int, _ frame: [UInt8]) -> [[UInt8]])? {
        didSet { watch() }
    }

    /// Sees what each event of a server led to, and the bytes that the event came with. It may not
    /// look at the mesh.
    public var witness:
        ((_ host: Int, _ effects: borrowing EffectBuffer, _ bytes: Span<UInt8>) -> Void)?
    {
        didSet { watch() }
    }

    /// Sees each server's node after each of its events. It may not look at the mesh.
    public var inspector: ((_ host: Int, _ node: borrowing Node) -> Void)? {
        didSet { watch() }
    }

    /// A judge's decision about a frame.
    public enum Verdict: Sendable {
        case pass, drop, double
        case delay(Delay)
    }

    /// Something that happens to a host a moment later.
    struct Parcel {
        enum What {
            case frame([UInt8])
            /// The connection that the host has dialled for the link gets there.
            case dialled(to: Int)
            /// The peer has closed the link, after these bytes.
            case closed(after: [UInt8])
        }
        var time: Instant
        var what: What
        var host: Int
        var link: LinkIndex
        var use: Int
    }

    /// A mesh without hosts.
    public init(hasher: KeyHasher, latency: Delay = .zero, at now: Instant) {
        self.hasher = hasher
        self.latency = latency
        self.now = now
        isWatched = latency > .zero
        hosts = Slab()
    }

    /// The address of a host; those beyond the hosts refuse connections.
    public static func endpoint(_ number: Int) -> Endpoint {
        Endpoint(ipv4: 0x0A00_0000 + UInt32(number), port: 7_400)
    }

    /// A new host, the next in number, with this server.
    ///
    /// - Parameters:
    ///   - options: the node's endpoint is that of the host.
    ///   - seed: for the node's own random choices.
    public mutating func append(_ options: ServerOptions, id: NodeID, seed: UInt64) {
        let number = hosts.count
        precondition(options.node.endpoint == Self.endpoint(number), "\(options.node.endpoint)")
        let node = Node(
            id: id,
            incarnation: Incarnation(bootMilliseconds: 1_700_000_000_000 + UInt64(number)),
            seed: seed, configuration: options.node, hasher: hasher, at: now)
        hosts.append(
            MemoryHost(
                server: Server(options, node: node, hasher: hasher, secret: (1, 2), at: now),
                linkCount: options.node.linkSlotCount))
        hosts[number].needsMore = isWatched
    }

    /// Whether each host that is up knows that so many are.
    public func allKnowEachOther(_ count: Int) -> Bool {
        for index in 0..<hosts.count
        where hosts[index].isUp && hosts[index].server.node.tableSizes().members != count {
            return false
        }
        return true
    }

    private mutating func watch() {
        isWatched =
            latency > .zero || judge != nil || translator != nil || witness != nil
            || inspector != nil
        for host in 0..<hosts.count { hosts[host].needsMore = isWatched }
    }

    // MARK: Time

    /// Lets virtual time pass, and all happen that is due until then.
    public mutating func run(for delay: Delay) {
        let end = now + delay
        var mayBeDue = true
        while true {
            settle()
            var next = end
            if parcelsTaken < parcels.count { next = min(next, parcels[parcelsTaken].time) }
            let isQuiet = !runDeadlines(next: &next)
            // The bytes that they have sent go first. A deadline in the past must not stop the clock, and
            // one that was set by what was just due must not be passed by.
            if !isQuiet, mayBeDue {
                mayBeDue = false
                continue
            }
            if !isQuiet { next = min(next, now + .microseconds(100)) }
            if now >= end {
                settle()
                return
            }
            now = next > now ? next : min(end, now + .microseconds(100))
            mayBeDue = true
        }
    }

    /// Runs the servers' deadlines that are due by now; bytes are not carried.
    public mutating func runDeadlines() {
        var next = now
        _ = runDeadlines(next: &next)
    }

    /// The same; `next` becomes the first deadline after now if that is earlier. False: none was due.
    private mutating func runDeadlines(next: inout Instant) -> Bool {
        var hasRun = false
        for index in 0..<hosts.count where hosts[index].isRunning {
            guard let due = hosts[index].server.nextDeadline() else { continue }
            if due > now {
                if due < next { next = due }
                continue
            }
            handle(.deadline, Span(), index)
            hasRun = true
        }
        return hasRun
    }

    /// Carries bytes until nothing arrives by now.
    public mutating func settle() {
        while true {
            if hasClients { resumeClients() }
            if takeParcel() || carryQueues() { continue }
            return
        }
    }

    // MARK: Events

    /// An event without bytes of a server that is up.
    public mutating func handle(_ event: Event, _ host: Int) {
        if hosts[host].isUp { handle(event, Span(), host) }
    }

    @inlinable @inline(__always)
    mutating func handle(_ event: Event, _ input: Span<UInt8>, _ host: Int) {
        hosts[host].handle(event, input, at: now)
        perform(host, input)
    }

    /// The same with bytes.
    public mutating func handle(_ event: Event, bytes: [UInt8], _ host: Int) {
        if hosts[host].isUp { handle(event, bytes.span, host) }
    }

    /// A message of no client.
    @inlinable @inline(__always)
    public mutating func publish(
        _ message: OutgoingMessage, _ input: Span<UInt8>, at host: Int
    ) -> PublishOutcome {
        let outcome = hosts[host].publish(message, input, at: now)
        perform(host, input)
        return outcome
    }

    /// A part of a session, from a host to a node.
    package mutating func sendSession(
        _ payload: [UInt8], to destination: NodeID, at host: Int
    ) -> BulkOutcome {
        let outcome = hosts[host].sendSession(
            Slice(start: 0, count: payload.count), to: destination, payload.span, at: now)
        perform(host, payload.span)
        return outcome
    }

    /// Ends a host's turn after an event: all but the effects on bytes, which are done already.
    @inlinable @inline(__always)
    mutating func perform(_ host: Int, _ input: Span<UInt8>) {
        if hosts[host].needsMore { performMore(host, input) }
        hosts[host].endTurn()
    }

    @inline(never)
    @usableFromInline mutating func performMore(_ host: Int, _ input: Span<UInt8>) {
        hosts[host].needsMore = isWatched
        witness?(host, hosts[host].effects.mesh, input)
        inspector?(host, hosts[host].server.node)
        var hasLeft = false
        for index in 0..<hosts[host].effects.mesh.count {
            switch hosts[host].effects.mesh[index] {
            case .send(let link, let head, let body, _):
                if isWatched { post(Int(head.count) + Int(body.count), host, link) }
            case .dial(let link, let endpoint):
                connect(host, link, to: MemoryHost.Wire())
                schedule(
                    .dialled(to: Int(endpoint.low) - 0x0A00_0000), to: host, link, after: latency)
            case .close(let link): close(link, host)
            case .left: hasLeft = true
            default: break
            }
        }
        if hasLeft { crash(host) }
    }
}
