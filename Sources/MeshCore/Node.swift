import MeshWire

/// A node of the mesh: membership, links, directory and routing. Event in, effects out.
///
/// It has no clock, no socket, no global randomness and depends on no hash order: the same seed and
/// the same events give the same effects. The TCP driver and the simulator run this same code.
///
/// The state is here; what is done with it stands in the folders `Overlay`, `Membership`, `Routing`,
/// `Directory` and `Delivery`, an extension a concern (<doc:Architecture>). Each part of the state has
/// one of them as its owner, which a test holds (`OwnershipTests`). So it has some thirty properties.
public struct Node: ~Copyable {
    // The fields that every event touches come first, and close together: to handle one in a mesh of simulated
    // nodes is mostly to wait for the cache. The earliest deadline is the last word of the timers;
    // it, the next five and the members' digest are one line, if the node begins one.
    var timers = Timers()
    public let id: NodeID
    /// The time of the event that is being handled.
    var now: Instant
    /// Members and table have arrived.
    public internal(set) var isReady = false
    /// There is something in `gossip.pending`, or a withdrawal that has not begun.
    var hasPendingChanges = false
    var links: LinkTable
    /// Index 0 is this node.
    var members: MemberTable
    var random: RandomSource
    var coordinates: Coordinates
    public let configuration: Configuration
    let hasher: KeyHasher
    /// Fingerprint of the cluster's key, told in the handshake.
    let clusterID: UInt64
    /// The wall clock at birth, by which others' claims of their births are judged.
    let bootMilliseconds: UInt64
    public internal(set) var counters = NodeCounters()
    // Membership.
    var gossip: Gossip
    var suspicions = Suspicions()
    /// The dead and the departed, oldest first.
    var departed = DepartedMembers()
    /// The way back to those that are forgotten.
    var lostMembers: LostMembers

    // Overlay.
    var longRange: LongRangeLinks
    var join: JoinState
    var dialLimits: DialLimits
    var departure = Departure()
    var complaints = Complaints()
    var secondChoices = SecondChoices()

    // Routing.
    var lists = LinkLists()
    var router = Router()
    var forwarding = ForwardingScratch()

    // Directory.
    var directory: Directory

    // Delivery.
    var flows: Flows
    var parked = ParkedMessages()

    // Queries to other nodes.
    var queries: [PendingQuery] = []

    private let byAddress = ByAddress()

    /// - Parameters:
    ///   - incarnation: from the wall clock at start; only its order to former lives matters.
    ///   - seed: for the node's own random choices; anything, but different on each node.
    ///   - interner: for nodes of one thread to share what is equal, as those of a simulation do.
    public init(
        id: NodeID, incarnation: Incarnation, seed: UInt64, configuration: Configuration,
        hasher: KeyHasher, at now: Instant, interner: RecordInterner? = nil
    ) {
        precondition(configuration.degree >= 4 && configuration.degree <= 64)
        self.id = id
        self.configuration = configuration
        self.hasher = hasher
        clusterID = hasher.key(.room, Array(configuration.cluster.utf8)).rawValue
        bootMilliseconds = incarnation.life
        self.now = now
        gossip = Gossip(at: now)
        lostMembers = LostMembers(at: now)
        random = RandomSource(seed: seed)
        // Of the seed, which nobody else knows; not a draw, of which choices tell.
        let secret = RandomSource.mix(seed ^ 0x7461_626c_6573)
        directory = Directory(
            hasher: hasher, secret: secret, recentCapacity: configuration.recentRecordCount,
            at: now)
        flows = Flows(secret: secret)
        members = MemberTable(
            oneself: MemberRecord(
                id: id, incarnation: incarnation, status: .alive,
                endpoint: configuration.endpoint, name: configuration.name,
                zone: configuration.zone), at: now,
            interner: interner ?? RecordInterner(secret: secret),
            secret: secret)
        links = LinkTable(slotCount: configuration.linkSlotCount)
        longRange = LongRangeLinks(strataCount: max(0, (configuration.degree - 4) / 2))
        coordinates = Coordinates(at: now)
        join = JoinState(configuration, startedAt: now)
        dialLimits = DialLimits(at: now)
        for remembered in configuration.remembered.prefix(32)
        where remembered != configuration.endpoint {
            lostMembers.recall(remembered, now)
        }
        router.admit(.oneself)
        timers[.heartbeat] = now + configuration.timing.heartbeat
        timers[.maintenance] = now + configuration.timing.maintenance
        timers[.redial] = now + configuration.timing.redial
        if join.hasSeeds { timers[.seeds] = now } else { isReady = true }
    }

    /// When `.deadline` is due, at the latest; nil: never.
    public var nextDeadline: Instant? { timers.earliest }

    public var incarnation: Incarnation { members[.oneself].incarnation }

    /// Advances the node by one event. Never blocks, never fails; what must happen next is appended
    /// to `effects`. `bytes` are those that the event's offsets point into.
    public mutating func handle(
        _ event: Event, bytes: Span<UInt8>, at now: Instant, into effects: inout EffectBuffer
    ) {
        if now > self.now { self.now = now }
        switch event {
        case .received(let prefix, let start, let link):
            received(prefix, start, from: link, bytes, &effects)
        case .heard(let link):
            heard(link)
        case .backlog(let link, let bytes):
            noteBacklog(of: link, bytes)
        case .directory(let key, let change):
            changeDirectory(key, change, &effects)
        case .pattern(let key, let name, let change):
            changePattern(key, bytes.array(name), change, &effects)
        case .watch(let key, let change):
            watch(key, change)
        case .follow(let key, let change):
            directory.watched.follow(key, change)
        case .query(let query, let target):
            sendQuery(query, target, bytes, &effects)
        case .answer(let asker, let query, let answer):
            sendAnswer(to: asker, query, answer, isTrace: false, bytes, &effects)
        case .connected(let link):
            connected(link, &effects)
        case .disconnected(let link, let reason):
            disconnected(link, reason, &effects)
        case .deadline:
            runExpiredTimers(&effects)
        case .wrongName(let body, let key, let name, let origin):
            tellWrongName(body, key, name: name, from: origin, bytes, &effects)
        case .unclaimed(let body, let key, let number, let origin, let sharesKey):
            foundNobody(body, key, number: number, from: origin, sharesKey: sharesKey)
        case .leave:
            leave(&effects)
        }
        if hasPendingChanges { settleChanges(&effects) }
    }

    /// To be called by the driver when it has slept, before what has come meanwhile.
    public mutating func woke(at now: Instant, into effects: inout EffectBuffer) {
        if now > self.now { self.now = now }
        notePause(&effects)
    }

    /// The consequences of changes of members, at the end of each event.
    @inline(never)
    mutating func settleChanges(_ effects: inout EffectBuffer) {
        if directory.withdrawals.isFresh { stepWithdrawals(&effects) }
        disseminateSoon(&effects)
    }

    private mutating func runExpiredTimers(_ effects: inout EffectBuffer) {
        if let due = timers.earliest, now - due > configuration.timing.heartbeat {
            // This node itself was stopped; its silence meters say nothing about others (local
            // health, Lifeguard IV-A).
            forgivePause()
        }
        // One that is set for now by one before it is still taken in this turn.
        for number in 0..<Timers.count where timers.take(number, at: now) {
            switch Timer(rawValue: number)! {
            case .heartbeat: beat(&effects)
            case .silence: checkSilence(&effects)
            case .handshake: abandonHandshakes(&effects)
            case .suspicion: expireSuspicions(&effects)
            case .accusation: decideAccusations(&effects)
            case .gossip: disseminate(&effects)
            case .linkList: tellLinkLists(&effects)
            case .records: spreadRecords(&effects)
            case .confirmation: checkConfirmations(&effects)
            case .catchingUp: catchUpLater(&effects)
            case .maintenance: maintain(&effects)
            case .departure: depart(&effects)
            case .seeds: dialSeeds(&effects)
            case .redial: redialDead(&effects)
            case .query: expireQueries(&effects)
            case .presence: announceAbsences(&effects)
            case .repair: repeatRepairs(&effects)
            case .acknowledgement: acknowledgeDue(&effects)
            case .retransmission: sendAgainDue(&effects)
            case .grace: expireParked(&effects)
            case .withdrawal: stepWithdrawals(&effects)
            case .probe: probe(&effects)
            }
        }
        timers.findEarliest()
    }

    /// One whole frame. A malformed one costs its sender the link.
    @inline(__always)
    private mutating func received(
        _ prefix: FramePrefix, _ start: Int, from link: LinkIndex, _ bytes: Span<UInt8>,
        _ effects: inout EffectBuffer
    ) {
        guard links.isValid(link), links[link].state != .free else { return }
        links[link].framesIn &+= 1
        links[link].bytesIn &+= UInt64(truncatingIfNeeded: prefix.length)
        do throws(WireError) {
            switch prefix.kind {
            case .routed:
                guard links[link].carriesFrames else { return }
                try receivedRouted(prefix, start, from: link, bytes, &effects)
            case .arc:
                guard links[link].carriesFrames else { return }
                try receivedArc(prefix, start, from: link, bytes, &effects)
            case .link:
                // In a calm mesh hardly anything else comes; as a case of `Message` it is written
                // to memory and taken from it several times.
                if links[link].state == .established,
                    let heartbeat = Heartbeat(frame: bytes, at: start, prefix)
                {
                    receivedHeartbeat(heartbeat, on: link, &effects)
                    return
                }
                let message = try Message.decode(
                    bytes, from: start + Frame.prefixSize, to: start + prefix.length)
                switch message {
                case .records, .snapshot:
                    counters[.recordBytesRepaired] &+= UInt64(prefix.length)
                default: break
                }
                receivedMessage(message, from: link, bytes, &effects)
            }
        } catch {
            switch error {
            case .unknownMessage where links[link].isPeerLater: counters[.unknownMessages] &+= 1
            case .otherVersion: receivedOtherVersion(error, on: link, &effects)
            default: breach(error, on: link, &effects)
            }
        }
    }

    /// A peer has broken the protocol: count it and end the link.
    mutating func breach(
        _ error: WireError, on link: LinkIndex, _ effects: inout EffectBuffer
    ) {
        counters[.protocolErrors] &+= 1
        effects.append(.log(.protocolError(link, peer(of: link), error)))
        drop(link, .misbehaved, &effects)
    }

    private mutating func receivedMessage(
        _ message: Message, from link: LinkIndex, _ bytes: Span<UInt8>,
        _ effects: inout EffectBuffer
    ) {
        switch (links[link].state, message) {
        case (.awaiting, .hello(let greeting)):
            receivedHello(greeting, on: link, &effects)
        case (.greeting, .welcome(let greeting)):
            receivedWelcome(greeting, on: link, &effects)
        case (.greeting, .refuse(let reason, let holder, let incarnation)),
            (.introducing, .refuse(let reason, let holder, let incarnation)):
            receivedRefusal(reason, holder: holder, incarnation, on: link, &effects)
        case (.introducing, .members(let records, _)), (.greeting, .members(let records, _)):
            merge(records, from: link, isRepair: true, &effects)
        case (.established, .members(let records, let isRepair)):
            merge(records, from: link, isRepair: isRepair, &effects)
        case (.established, .statuses(let changes)):
            apply(changes, from: link, &effects)
        case (.established, .linkLists(let received)):
            merge(received, from: link)
        case (.established, .linkChanges(let changes)):
            apply(changes, from: link, &effects)
        case (.established, .linksWanted(let owners)):
            tellWholeLists(of: owners, over: link, &effects)
        case (.established, .role(let role)):
            links[link].peerRole = role
            if !role.contains(.longRange) { longRange.released(by: links[link].peer) }
            if role.isEmpty { timers.schedule(.maintenance, at: now + .milliseconds(100)) }
        case (.established, .bye):
            // All that the peer sent has come. What this side has sent goes out before its bye.
            closeInOrder(link, .unneeded, &effects)
            forget(link, &effects)
        case (.established, .coordinates(let items)), (.introducing, .coordinates(let items)),
            (.greeting, .coordinates(let items)):
            accept(items, from: links[link].peer)
        case (_, .bye):
            forget(link, &effects)
        case (.closing, _):
            // Sent before the peer knew that this is no link any more.
            break
        case (.introducing, _) where message.scope == .link:
            // Sent before it knew that this is none.
            break
        case (.established, .digests(let digests)):
            receivedDigests(digests, on: link, &effects)
        case (.established, .compare(let number, let digests)):
            receivedCompare(number, digests, on: link, &effects)
        case (.established, .compared(let number, let isBehind)):
            receivedCompared(number, isBehind: isBehind, on: link, &effects)
        case (.established, .origins(let entries, let mask, let isReply)):
            receivedOrigins(entries, mask: mask, isReply: isReply, on: link, &effects)
        case (.established, .logSummaries(let summaries, let mask)):
            receivedSummaries(summaries, mask: mask, on: link, &effects)
        case (.established, .repair(let requests)):
            serveRepairs(requests, on: link, &effects)
        case (.established, .records(let records)):
            do throws(WireError) {
                try checkPatterns(records.records)
                applyRecords(records, from: link, isLive: false, &effects)
            } catch {
                breach(error, on: link, &effects)
            }
        case (.established, .snapshot(let part)):
            applySnapshot(part, from: link, &effects)
        case (.established, .cannotRepair(let origin)):
            repairFailed(origin, on: link, &effects)
        case (.established, .recordsKnown(let origin, let life, let sequence)):
            receivedKnown(origin, life, sequence, from: links[link].peer, &effects)
        default:
            // Out of place: not in this state, or not over a single hop.
            breach(.invalidValue(field: "message for this state"), on: link, &effects)
        }
    }
}
