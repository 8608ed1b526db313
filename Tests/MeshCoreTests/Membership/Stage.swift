import MeshWire

@testable import MeshCore

/// Nodes of a transcript, and parts that the script plays itself, in virtual time.
///
/// Each frame is an event of its own and takes a millisecond. After each event the stage writes down
/// what the node wants done and what has changed in it; an event that leads to nothing but heartbeats is
/// not mentioned. With an observer nothing is written: it sees each event.
final class Stage {
    let words = Words()
    var actors: [String: Actor] = [:] {
        didSet { nodes = actors.values.filter { $0.hasNode }.sorted { $0.name < $1.name } }
    }
    /// Those who are nodes and not played, sorted.
    private var nodes: [Actor] = []
    var nodeNames: [String] { nodes.map(\.name) }
    var now = Instant(nanoseconds: 1_000_000_000)
    /// The consequences of the present command.
    private(set) var lines: [String] = []
    var isQuiet = false
    /// The settings of nodes that start, besides.
    var configure: (inout Configuration) -> Void = { _ in }

    /// The present event is that a node's time has come.
    private(set) var isDeadline = false
    /// The link over which the present event has come, if a frame has.
    private(set) var presentLink: LinkIndex?
    weak var observer: (any StageObserver)?
    /// How long each copy of a frame takes; none: the frame is lost.
    var fate: ((_ frame: [UInt8]) -> [Delay])?

    /// Frames between these, from the first to the second, are lost, and dials come to nothing.
    var cuts: Set<[String]> = []
    private var parcels: [Parcel] = []
    /// Heartbeats since the last command began, by the digest that they carry and their way.
    private var heartbeats: [(digest: String, sender: String, receivers: [String: Int])] = []

    static let latency = Delay.milliseconds(1)

    /// The events of a node whose time has come.
    struct Parcel {
        enum What {
            case frame([UInt8])
            case dialled(to: String?)
            case closed
        }
        var time: Instant
        var what: What
        var receiver: String
        var link: LinkIndex
        var use: Int
    }

    // MARK: Actors

    func actor(_ name: String) throws(ScriptError) -> Actor {
        guard let actor = actors[name] else { throw ScriptError("nobody is called \(name)") }
        return actor
    }

    /// A part that the script plays.
    func play(_ name: String, at place: String? = nil) {
        actors[name] = Actor(name, cast(name, at: place))
    }

    private func cast(_ name: String, at place: String?) -> MemberRecord {
        let record = words.cast(name, life: UInt64(actors.count))
        guard let place, let former = words.record(place) else { return record }
        words.move(name, to: former.endpoint)
        return words.record(name)!
    }

    /// A node that starts now. A later one has a later life.
    ///
    /// - Parameter place: the name of the one whose address it has.
    func start(_ name: String, seeds: [String], at place: String? = nil) {
        let record = cast(name, at: place)
        var configuration = Configuration(
            endpoint: record.endpoint, name: name, seeds: seeds.map { words.record($0)!.endpoint })
        configure(&configuration)
        let actor = Actor(name, record)
        actor.begin(configuration, seed: UInt64(actors.count), at: now)
        actors[name] = actor
        actor.view = view(actor)
    }

    func view(_ actor: Actor) -> NodeView { NodeView(actor.node, words) }

    // MARK: Writing

    func write(_ line: String) { if !isQuiet { lines.append(line) } }

    func takeLines() -> [String] {
        defer { lines = [] }
        return lines
    }

    /// Writes down the heartbeats of a command.
    func writeHeartbeats() {
        for (digest, sender, receivers) in heartbeats {
            let counts = receivers.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }
            write("heartbeats of \(sender), digest \(digest): " + counts.joined(separator: ", "))
        }
        heartbeats = []
    }

    /// Writes down what has changed in nodes without anything that is worth an event.
    func writeRest() {
        for name in nodeNames {
            let actor = actors[name]!
            let changes = note(actor)
            if changes.isEmpty { continue }
            write("\(words.time(now)) \(name) meanwhile")
            for line in changes { write("  " + line) }
        }
    }

    /// The changes since a node's last view, which becomes the present one.
    private func note(_ actor: Actor) -> [String] {
        let view = view(actor)
        defer { actor.view = view }
        return view.changes(since: actor.view)
    }

    private func count(heartbeat: Heartbeat, from sender: String, to receiver: String) {
        let digest = words.digest(heartbeat.digest)
        if let place = heartbeats.firstIndex(where: { $0.digest == digest && $0.sender == sender })
        {
            heartbeats[place].receivers[receiver, default: 0] += 1
        } else {
            heartbeats.append((digest, sender, [receiver: 1]))
        }
    }

    // MARK: Events

    /// One event of a node, with all that comes of it.
    ///
    /// - Parameters:
    ///   - title: what has happened, in words.
    ///   - isMentioned: also when nothing comes of it.
    func handle(
        _ name: String, _ title: @autoclosure () -> String, isMentioned: Bool = false,
        _ event: Event
    ) {
        perform(name, title(), isMentioned, []) {
            $0.node.handle(event, bytes: Span(), at: now, into: &$0.effects)
        }
    }

    func perform(
        _ name: String, _ title: @autoclosure () -> String, _ isMentioned: Bool,
        _ bytes: [UInt8], _ change: (Actor) -> Void
    ) {
        let actor = actors[name]!
        observer?.before(actor, bytes)
        change(actor)
        var told: [String] = []
        for index in 0..<actor.effects.count {
            if observer == nil { tell(actor.effects[index], of: actor, bytes, &told) }
            carryOut(actor.effects[index], of: actor, bytes)
        }
        observer?.after(actor, bytes)
        actor.effects.removeAll()
        if observer != nil { return }
        let title = title()
        let isDue = title == Self.timeTitle
        let changes = view(actor).changes(since: actor.view)
        let isTrifle = told.isEmpty && changes.allSatisfy { $0.hasPrefix("timer silence") }
        if isTrifle, !isMentioned || isDue { return }
        _ = note(actor)
        write("\(words.time(now)) \(name) \(title)")
        for line in Self.gathered(told) + changes { write("  " + line) }
        if told.isEmpty, changes.isEmpty { write("  nothing") }
    }

    static let timeTitle = "(time)"

    /// A frame that goes to several peers alike, in one line.
    private static func gathered(_ told: [String]) -> [String] {
        var lines: [String] = []
        var last = ""
        for line in told {
            let parts = line.split(separator: "\t", maxSplits: 1).map(String.init)
            if parts.count == 2, parts[1] == last {
                lines[lines.count - 1] = lines[lines.count - 1].replacing(
                    ": ", with: " \(parts[0]): ", maxReplacements: 1)
            } else {
                lines.append(parts.count == 2 ? "to \(parts[0]): \(parts[1])" : line)
            }
            last = parts.count == 2 ? parts[1] : ""
        }
        return lines
    }

    /// An effect in words; what goes to a peer begins with that one's name and a tab.
    private func tell(
        _ effect: Effect, of actor: Actor, _ bytes: [UInt8], _ told: inout [String]
    ) {
        switch effect {
        case .send(let link, let head, let body, _):
            let frame = actor.frame(head, body, bytes)
            let peer = actor.peer(of: link) ?? "nobody"
            if let heartbeat = words.heartbeat(frame) {
                count(heartbeat: heartbeat, from: actor.name, to: peer)
            } else {
                told.append("\(peer)\t\(words.describe(frame: frame))")
            }
        case .dial(_, let endpoint):
            told.append("dials \(words.names(at: endpoint).first ?? "nowhere")")
        case .close(let link):
            told.append("ends the connection with \(actor.peer(of: link) ?? "nobody")")
        case .left: told.append("has left")
        default: told.append(words.describe(effect, actor.effects, bytes))
        }
    }

    private func carryOut(_ effect: Effect, of actor: Actor, _ bytes: [UInt8]) {
        switch effect {
        case .send(let link, let head, let body, _):
            post(.frame(actor.frame(head, body, bytes)), over: link, of: actor)
        case .dial(let link, let endpoint):
            let target = words.names(at: endpoint).last { actors[$0] != nil }
            actor.wires[link] = Actor.Wire(peer: nil, use: actor.nextUse())
            schedule(.dialled(to: target), actor.name, link)
        case .close(let link):
            post(.closed, over: link, of: actor)
            actor.wires[link] = nil
        case .left: actor.isUp = false
        default: break
        }
    }

    // MARK: The network

    func schedule(
        _ what: Parcel.What, _ receiver: String, _ link: LinkIndex, after delay: Delay = latency
    ) {
        guard let wire = actors[receiver]!.wires[link] else { return }
        let parcel = Parcel(
            time: now + delay, what: what, receiver: receiver, link: link, use: wire.use)
        parcels.append(parcel)
    }

    /// Puts something on its way over a link, unless the other end is played.
    private func post(_ what: Parcel.What, over link: LinkIndex, of actor: Actor) {
        guard let wire = actor.wires[link], let peer = wire.peer, let other = actors[peer] else {
            return
        }
        if !other.hasNode {
            if case .closed = what { other.wires[wire.peerLink] = nil }
            if other.isObliging, case .frame(let frame) = what {
                oblige(frame, other, wire.peerLink, actor, link)
            }
            return
        }
        // The other end may have ended it already, and use its slot for another.
        guard let end = other.wires[wire.peerLink], end.peer == actor.name, end.peerLink == link
        else { return }
        if cuts.contains([actor.name, peer]) { return }
        if let fate, case .frame(let frame) = what {
            for delay in fate(frame) { schedule(what, peer, wire.peerLink, after: delay) }
            return
        }
        schedule(what, peer, wire.peerLink)
    }

    /// A dialled connection gets where it was to go, or not.
    private func reach(_ target: String?, from name: String, _ link: LinkIndex) {
        let caller = actors[name]!
        guard let target, let other = actors[target], other.isUp, other.door == .open else {
            guard target.map({ actors[$0]!.isUp && actors[$0]!.door == .mute }) != true else {
                return
            }
            caller.wires[link] = nil
            return handle(
                name, "is refused by \(target ?? "nobody")", isMentioned: true,
                .disconnected(link, .refused))
        }
        if cuts.contains([name, target]) || cuts.contains([target, name]) { return }
        var end = LinkIndex(1_000 + other.nextUse())
        if other.hasNode {
            guard let accepted = other.node.acceptLink(at: now, into: &other.effects) else {
                caller.wires[link] = nil
                return handle(name, "is refused by \(target)", .disconnected(link, .refused))
            }
            end = accepted
        }
        other.wires[end] = Actor.Wire(peer: name, peerLink: link, use: other.nextUse())
        caller.wires[link]!.peer = target
        caller.wires[link]!.peerLink = end
        handle(name, "reaches \(target)", .connected(link))
    }

    /// A played part dials a node.
    func dial(from name: String, to target: String) throws(ScriptError) {
        let (caller, other) = (try actor(name), try actor(target))
        guard let end = other.node.acceptLink(at: now, into: &other.effects) else {
            throw ScriptError("\(target) takes no connection")
        }
        let link = LinkIndex(1_000 + caller.nextUse())
        caller.wires[link] = Actor.Wire(peer: target, peerLink: end, use: caller.nextUse())
        other.wires[end] = Actor.Wire(peer: name, peerLink: link, use: other.nextUse())
    }

    /// A played part says something over its latest connection with a node, which hears it at once.
    func say(
        _ frame: [UInt8], from name: String, to target: String
    ) throws(ScriptError) {
        guard let wire = try wire(name, target)
        else { throw ScriptError("\(name) has no connection with \(target)") }
        hand(frame, to: target, over: wire.peerLink, from: name, isMentioned: true)
    }

    private func hand(
        _ frame: [UInt8], to name: String, over link: LinkIndex, from peer: String,
        isMentioned: Bool
    ) {
        var needed = 0
        guard let prefix = try? FramePrefix.read(frame.span, at: 0, needed: &needed) else {
            preconditionFailure("half a frame")
        }
        presentLink = link
        defer { presentLink = nil }
        perform(name, "hears \(peer): \(words.describe(frame: frame))", isMentioned, frame) {
            $0.node.handle(.heard(link), bytes: Span(), at: now, into: &$0.effects)
            let event = Event.received(prefix, start: 0, from: link)
            $0.node.handle(event, bytes: frame.span, at: now, into: &$0.effects)
        }
    }

    /// The latest connection of one with another.
    func wire(_ name: String, _ target: String) throws(ScriptError) -> Actor.Wire? {
        try actor(name).wires.values.filter { $0.peer == target }.max { $0.use < $1.use }
    }

    /// Bytes that are no whole frame yet come over the link.
    func hear(_ name: String, at target: String) throws(ScriptError) {
        guard let wire = try wire(name, target) else { return }
        handle(target, "hears \(name)", .heard(wire.peerLink))
    }

    /// The connections of one with another end; who is named first is told so.
    func end(
        _ name: String, _ other: String, _ reason: Disconnection = .closed
    ) throws(ScriptError) {
        let actor = try actor(name)
        let ended = actor.wires.filter { $0.value.peer == other }.sorted { $0.key < $1.key }
        for (link, wire) in ended {
            actor.wires[link] = nil
            actors[other]?.wires[wire.peerLink] = nil
            if actor.hasNode, actor.isUp {
                handle(name, "loses \(other)", isMentioned: true, .disconnected(link, reason))
            }
        }
    }

    // MARK: Faults

    /// The process ends: its connections are reset, and its address refuses.
    func crash(_ name: String) throws(ScriptError) {
        try actor(name).isUp = false
        for other in nodeNames where other != name { try end(other, name) }
    }

    /// Events that have come while the process stood still happen now.
    func thaw(_ name: String) throws(ScriptError) {
        let actor = try actor(name)
        actor.isFrozen = false
        let waiting = actor.waiting
        actor.waiting = []
        for event in waiting { event() }
    }

    /// The connections between two nodes are lost, and what was on its way over them.
    func reset(_ one: String, _ other: String) throws(ScriptError) {
        let peer = try actor(other)
        let ends = peer.wires.filter { $0.value.peer == one }.keys.sorted()
        try end(one, other)
        for link in ends {
            peer.wires[link] = nil
            handle(other, "loses \(one)", isMentioned: true, .disconnected(link, .closed))
        }
    }

    // MARK: Time

    /// Lets time pass, and all happen that is due until then.
    ///
    /// - Parameter heard: played parts that say something every 400 ms.
    func run(for delay: Delay, hearing heard: [String] = []) throws(ScriptError) {
        let end = now + delay
        var nextWord = now
        while true {
            var next = end
            if !heard.isEmpty { next = min(next, nextWord) }
            for parcel in parcels { next = min(next, parcel.time) }
            for actor in nodes where actor.isRunning {
                if let due = actor.node.nextDeadline { next = min(next, due) }
            }
            now = max(now, next)
            if let place = parcels.firstIndex(where: { $0.time <= now }) {
                let parcel = parcels.remove(at: place)
                arrive(parcel)
            } else if !heard.isEmpty, nextWord <= now {
                nextWord = now + .milliseconds(400)
                for name in heard {
                    for target in nodeNames { try hear(name, at: target) }
                }
            } else if let actor = nodes.first(where: { isDue($0) }) {
                isDeadline = true
                handle(actor.name, Self.timeTitle, .deadline)
                isDeadline = false
            } else if now >= end {
                return
            }
        }
    }

    private func isDue(_ actor: Actor) -> Bool {
        guard actor.isRunning, let due = actor.node.nextDeadline else { return false }
        return due <= now
    }

    private func arrive(_ parcel: Parcel) {
        let actor = actors[parcel.receiver]!
        guard actor.isUp, let wire = actor.wires[parcel.link], wire.use == parcel.use else {
            return
        }
        if actor.isFrozen {
            actor.waiting.append { [unowned self] in self.arrive(parcel) }
            return
        }
        switch parcel.what {
        case .dialled(let target): reach(target, from: parcel.receiver, parcel.link)
        case .frame(let frame):
            hand(
                frame, to: parcel.receiver, over: parcel.link, from: wire.peer!,
                isMentioned: false)
        case .closed:
            actor.wires[parcel.link] = nil
            handle(
                parcel.receiver, "loses \(wire.peer!)", .disconnected(parcel.link, .closed))
        }
    }
}

/// Sees each event of the nodes on a stage, before it and with all that has come of it.
protocol StageObserver: AnyObject {
    func before(_ actor: Actor, _ bytes: [UInt8])
    func after(_ actor: Actor, _ bytes: [UInt8])
}
