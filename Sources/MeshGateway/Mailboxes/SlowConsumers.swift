import MeshCore
import MeshWire

// Clients that may lose messages, or must not lose them with their connection. Their messages pass
// a backlog of whole frames once more than `aheadBytes` wait in their output:
//
//     message ─▶ output, if little waits in it ─────────────┐
//        └─────▶ backlog, by the policy ─▶ (flush: refill) ─▶ output ─▶ socket
//
// Replies go straight to the output: they may overtake messages that wait. Where that would
// confuse (a message of a channel after the confirmation that it was left), the backlog is emptied
// into the output first.

extension Gateway {
    /// Output that is filled with messages ahead of the socket. Less would cost system calls; more
    /// could not be dropped any more. A guess, not yet measured.
    public static let aheadBytes = 128 * 1024
    /// The most names of which one client's losses are told apart; what is beyond is told together.
    static let gapNameCountMax = 1_024
    /// The shortest time between two rounds of gap notices to one client that stays behind.
    static let gapNoticePause: Delay = .milliseconds(100)

    // MARK: In

    /// `frame`, a RESP2 array titled `label`, for a client whose messages are kept apart from its
    /// output.
    @inline(never)
    mutating func enqueue(_ client: ClientIndex) {
        let slot = client.slot
        if clients[slot].flags.contains(.settling), label.kind == .user, isTwin(client) { return }
        admitFrame(client)
    }

    /// The same, for what is known to be no twin.
    mutating func admitFrame(_ client: ClientIndex) {
        let slot = client.slot
        guard clients[slot].flags.isDisjoint(with: [.doomed, .ending]) else {
            if clients[slot].flags.contains(.session), label.kind == .user {
                // It waits for the next connection. A turn of the driver brings so much at most.
                clients[slot].backlog.append(frame, label)
            } else {
                counters[.droppedClientCopies] += 1
            }
            return
        }
        if !clients[slot].flags.contains(.ghost) { counters[.clientCopies] += 1 }
        let isAhead =
            clients[slot].flags.isDisjoint(with: [.executing, .ghost, .gapPending])
            && clients[slot].backlog.isEmpty
            && outputCount(client) < Self.aheadBytes
        if isAhead {
            let start = clients[slot].output.count
            let length = frame.count
            frame.withSpan { clients[slot].output.append($0, 0, $0.count) }
            noteFrame(client, at: start, length, label.group, label.id)
            wrote(client, .frame)
            return
        }
        let policy = clients[slot].policy
        let isGhost = clients[slot].flags.contains(.ghost)
        let bytesMax = isGhost ? configuration.sessionBytesMax : configuration.slowBytesMax
        let isBounded = isGhost && !clients[slot].flags.contains(.passing)
        let countMax = isBounded ? configuration.sessionCountMax : .max
        let cost = frame.count + Backlog.entryCost
        if policy == .disconnect, !isGhost {
            clients[slot].backlog.append(frame, label)
            checkBacklogLimit(client)
        } else if cost > bytesMax {
            // Not even alone.
            lose(client, policy)
        } else if policy == .dropNewest {
            if clients[slot].backlog.cost + cost > bytesMax
                || clients[slot].backlog.count >= countMax
            {
                lose(client, policy)
            } else {
                clients[slot].backlog.append(frame, label)
            }
        } else {
            if policy == .latest {
                if clients[slot].backlog.appendLatest(frame, label) {
                    lose(client, policy)
                }
            } else {
                clients[slot].backlog.append(frame, label)
            }
            while clients[slot].backlog.cost > bytesMax
                || clients[slot].backlog.count > countMax
            {
                loseOldest(client, policy)
            }
        }
        if !isGhost {
            wrote(client)
        } else if clients[slot].flags.contains(.movedAway),
            let entry = clients[slot].sessions.entries.first
        {
            forwarding.insert(entry.session)
        }
    }

    /// A frame of `length` bytes stands at `start` in the output as an array.
    private mutating func noteFrame(
        _ client: ClientIndex, at start: Int, _ length: Int, _ group: UInt64, _ id: MessageID
    ) {
        let slot = client.slot
        if clients[slot].isRESP3 { clients[slot].output.setFrame(at: start, isRESP3: true) }
        if clients[slot].flags.contains(.session),
            let (session, number) = countMessage(client, group)
        {
            clients[slot].kept.append(
                KeptFrame(
                    start: clients[slot].outputBase &+ UInt64(start), length: length, id: id,
                    session: session, life: sessions[session].life, number: number))
        }
    }

    private mutating func checkBacklogLimit(_ client: ClientIndex) {
        let slot = client.slot
        let waiting = clients[slot].backlog.byteCount + outputCount(client)
        if waiting > configuration.pubsubOutputLimit.bound { cut(client, .frame) }
    }

    // MARK: Losses

    /// The message in `frame` is lost to the client, or one of the same title in its backlog.
    private mutating func lose(_ client: ClientIndex, _ policy: SlowConsumerPolicy) {
        let slot = client.slot
        count(client, policy)
        if clients[slot].flags.contains(.gaps) {
            let title = frame.withSpan { FrameTitle($0) }
            let name = frame.withSpan { span in Self.bytes(span, title.name) }
            noteGap(client, title.kind, name, 1)
        }
    }

    private mutating func loseOldest(_ client: ClientIndex, _ policy: SlowConsumerPolicy) {
        let slot = client.slot
        count(client, policy, isOldest: true)
        if clients[slot].flags.contains(.gaps) {
            let (kind, name) = clients[slot].backlog.takeFirst { span, _ in
                let title = FrameTitle(span)
                return (title.kind, Self.bytes(span, title.name))
            }
            noteGap(client, kind, name, 1)
        } else {
            clients[slot].backlog.takeFirst { _, _ in }
        }
    }

    private mutating func count(
        _ client: ClientIndex, _ policy: SlowConsumerPolicy, isOldest: Bool = false
    ) {
        let slot = client.slot
        if clients[slot].flags.contains(.ghost) {
            counters[.sessionMessagesDropped] += 1
            if clients[slot].droppedCount == 0 { clients[slot].droppedSince = now }
            // The oldest of a counted session may have been seen.
            if isOldest, clients[slot].flags.contains(.counted) { return }
            // What comes here for another node's session may have come there too: nobody knows.
            addLost(
                clients[slot].flags.contains(.movedAway) ? Self.unknownCount : 1, to: client)
            return
        }
        clients[slot].droppedCount += 1
        switch policy {
        case .disconnect, .dropOldest: counters[.droppedOldest] += 1
        case .dropNewest: counters[.droppedNewest] += 1
        case .latest: counters[.droppedSuperseded] += 1
        }
    }

    static func bytes(_ span: Span<UInt8>, _ slice: Slice) -> [UInt8] {
        var result: [UInt8] = []
        result.reserveCapacity(Int(slice.count))
        for index in Int(slice.start)..<slice.end { result.append(span[index]) }
        return result
    }

    /// The client has missed messages, and will be told once it takes what it is sent.
    mutating func noteGap(
        _ client: ClientIndex, _ kind: MessageKind, _ name: [UInt8], _ count: Int,
        since: Instant? = nil
    ) {
        let slot = client.slot
        if clients[slot].gaps.isEmpty { clients[slot].gapsAfter = gapPosition(client) }
        clients[slot].flags.insert(.gapPending)
        // The list is short but for clients that are far behind on many names.
        let key = Gap.key(kind, name)
        if let index = clients[slot].gapIndex[key] {
            let sum = Self.sumOfLost(clients[slot].gaps[index].count, count)
            clients[slot].gaps[index].count = sum
            return
        }
        guard clients[slot].gaps.count < Self.gapNameCountMax else {
            let last = clients[slot].gaps.count - 1
            clients[slot].gaps[last].name = []
            clients[slot].gaps[last].kind = .node
            clients[slot].gaps[last].count = Self.sumOfLost(
                clients[slot].gaps[last].count, count)
            return
        }
        clients[slot].gapIndex[key] = clients[slot].gaps.count
        clients[slot].gaps.append(
            Gap(kind: kind, name: name, count: count, since: since ?? now))
    }

    /// The messages of this name that the client has missed and was not told of; nil: none that are told
    /// apart from others.
    func untoldGap(_ client: ClientIndex, _ kind: MessageKind, _ name: [UInt8]) -> Gap? {
        clients[client.slot].gapIndex[Gap.key(kind, name)].map { clients[client.slot].gaps[$0] }
    }

    /// The frames up to this number came before what is missing: they are sent first.
    private func gapPosition(_ client: ClientIndex) -> UInt64 {
        clients[client.slot].policy == .dropNewest
            ? clients[client.slot].backlog.nextNumber : 0
    }

    /// A flow from another node has a gap (`Effect.gap`): whoever asked is told that messages are
    /// missing; of which channels, nobody knows.
    public mutating func missed(count: Int) {
        for slot in 0..<clients.count
        where clients[slot].flags.contains([.open, .gaps])
            && clients[slot].flags.isDisjoint(with: [.doomed, .ending])
        {
            noteGap(ClientIndex(slot), .node, [], count)
            wrote(ClientIndex(slot))
        }
    }

    // MARK: Out

    /// Offers everything that waits for the client, in pieces.
    @inline(never)
    mutating func flushTracked(_ client: ClientIndex, _ body: (UnsafeRawBufferPointer) -> Int) {
        let slot = client.slot
        while true {
            refill(client)
            let front = clients[slot].sentFront
            let offered = clients[slot].output.count - front
            guard offered > 0 else { return }
            let sent = unsafe clients[slot].output.withBytes { bytes in
                unsafe body(UnsafeRawBufferPointer(rebasing: bytes[front...]))
            }
            precondition(sent >= 0 && sent <= offered)
            forget(client, front + sent)
            guard sent == offered, !clients[slot].backlog.isEmpty else { break }
        }
        if clients[slot].policy == .disconnect, clients[slot].flags.isDisjoint(with: .session) {
            chooseTracking(client)
        }
    }

    /// The first `sent` bytes of the output are the kernel's. A message of a session stays as long
    /// as a part of it has not left, one of a counted session until it is acknowledged, or too many
    /// are kept: if the connection breaks, they wait again.
    private mutating func forget(_ client: ClientIndex, _ sent: Int) {
        let slot = client.slot
        let base = clients[slot].outputBase
        let end = base &+ UInt64(sent)
        clients[slot].kept.pass(end)
        while clients[slot].kept.passedCount > 0, let first = clients[slot].kept.first {
            if isAwaited(first), end &- first.start <= UInt64(configuration.sessionBytesMax),
                clients[slot].kept.passedCount <= configuration.sessionCountMax
            {
                break
            }
            if first.number == 0, isOwned(first) {
                noteUnproven(first.session, upTo: first.start &+ UInt64(first.length))
            }
            clients[slot].kept.removeFirst()
        }
        var gone = sent
        if let start = clients[slot].kept.first?.start, start < base &+ UInt64(sent) {
            gone = Int(start &- base)
        }
        clients[slot].output.drop(gone)
        clients[slot].outputBase = base &+ UInt64(gone)
        clients[slot].sentFront = sent - gone
    }

    /// Moves messages from the backlog to the output, gap notices before what came after the gap.
    mutating func refill(_ client: ClientIndex, all: Bool = false) {
        let slot = client.slot
        guard clients[slot].flags.isDisjoint(with: [.executing, .doomed, .ending]) else { return }
        while all
            || outputCount(client) < Self.aheadBytes
        {
            announceGaps(client)
            guard !clients[slot].backlog.isEmpty else { return }
            // Taken out for the time of the copy: two parts of one session cannot be borrowed
            // through the slab at once.
            var output = ByteQueue()
            swap(&output, &clients[slot].output)
            let start = output.count
            let id = clients[slot].backlog.firstID
            let group = clients[slot].backlog.firstGroup
            let length = clients[slot].backlog.takeFirst { span, length in
                output.append(span, 0, length)
                return length
            }
            swap(&output, &clients[slot].output)
            noteFrame(client, at: start, length, group, id)
        }
    }

    private mutating func announceGaps(_ client: ClientIndex) {
        let slot = client.slot
        guard clients[slot].flags.contains(.gapPending),
            clients[slot].backlog.firstNumber >= clients[slot].gapsAfter
        else { return }
        if !clients[slot].backlog.isEmpty, let last = clients[slot].gapsToldAt,
            now - last < Self.gapNoticePause
        {
            return
        }
        clients[slot].gapsToldAt = now
        let isRESP3 = clients[slot].isRESP3
        for index in clients[slot].gaps.indices {
            let gap = clients[slot].gaps[index]
            clients[slot].output.appendPush(5, isRESP3: isRESP3)
            clients[slot].output.append("$3\r\ngap\r\n")
            clients[slot].output.appendBulk(gap.kind.name)
            clients[slot].output.appendBulk(gap.name)
            clients[slot].output.appendInteger(gap.count)
            clients[slot].output.appendInteger(Int((now - gap.since).milliseconds))
            if gap.kind == .user, let index = session(of: gap.name, at: client) {
                // The notice itself may be lost with its connection.
                let end = clients[slot].outputBase &+ UInt64(clients[slot].output.count)
                noteTold(index, gap.count, since: gap.since, upTo: end)
            }
        }
        counters[.gapNotices] += UInt64(clients[slot].gaps.count)
        clients[slot].gaps.removeAll()
        clients[slot].gapIndex.removeAll()
        clients[slot].flags.remove(.gapPending)
    }

    /// Puts all that waits into the output, ahead of a reply that must not overtake it. The queue's
    /// bound still bounds it: commands wait while much output does (the driver's throttle).
    mutating func releaseBacklog(_ client: ClientIndex) {
        let slot = client.slot
        if clients[slot].flags.isDisjoint(with: [.tracked, .gapPending]) { return }
        refill(client, all: true)
    }

    // MARK: Commands

    mutating func setPolicy(_ input: Span<UInt8>, _ client: ClientIndex) {
        let slot = client.slot
        guard arguments.count <= 2 else {
            fail(client, .syntax(.argumentCount(command: "mesh.policy")))
            return
        }
        if arguments.count == 1 {
            clients[slot].output.appendBulk(clients[slot].policy.name)
            return
        }
        guard let policy = SlowConsumerPolicy(name: text(1, input, countMax: 32)) else {
            fail(client, .syntax(.unknownPolicy))
            return
        }
        clients[slot].policy = policy
        chooseTracking(client)
        ok(client)
    }

    /// Decides whether the client's messages pass its backlog.
    mutating func chooseTracking(_ client: ClientIndex) {
        let slot = client.slot
        let needsIt =
            clients[slot].policy != .disconnect || clients[slot].flags.contains(.session)
        if needsIt {
            clients[slot].flags.insert(.tracked)
            return
        }
        refill(client, all: true)
        // A gap notice or a transaction may still hold something back: then the next flush decides.
        if clients[slot].backlog.isEmpty, clients[slot].sentFront == 0 {
            clients[slot].flags.remove(.tracked)
        }
    }

    /// `MESH.GAPS`, `MESH.REPORTS` and `MESH.MOVES`: ON or OFF.
    mutating func setWish(_ flag: SessionFlags, _ input: Span<UInt8>, _ client: ClientIndex) {
        let slot = client.slot
        if equals(1, "on", input) {
            clients[slot].flags.insert(flag)
        } else if equals(1, "off", input) {
            clients[slot].flags.remove(flag)
            if flag == .gaps {
                clients[slot].gaps = []
                clients[slot].gapIndex = [:]
                clients[slot].flags.remove(.gapPending)
            }
        } else {
            fail(client, .syntax(.neitherOnNorOff))
            return
        }
        ok(client)
    }
}

/// Where a message of a session stands in a client's output.
struct KeptFrame {
    /// Its position in all that was ever written there.
    var start: UInt64
    var length: Int
    var id: MessageID
    /// Its session's place, and that place's life: another one says that the session has ended, and
    /// nobody counts its messages any more.
    var session: UserSessionIndex
    var life: UInt32
    /// Its number among the messages of a counted session; 0: nobody counts.
    var number: UInt64
}

/// The messages of sessions that stand in a client's output, oldest first.
struct KeptFrames {
    private var frames: [KeptFrame] = []
    private var head = 0
    /// Of them the kernel has so many wholly, the first.
    private(set) var passedCount = 0

    var first: KeptFrame? { head < frames.count ? frames[head] : nil }

    mutating func append(_ frame: KeptFrame) { frames.append(frame) }

    /// The kernel has all bytes before this position.
    mutating func pass(_ position: UInt64) {
        while head + passedCount < frames.count,
            frames[head + passedCount].start &+ UInt64(frames[head + passedCount].length)
                <= position
        {
            passedCount += 1
        }
    }

    /// Forgets the oldest, which the kernel has.
    mutating func removeFirst() {
        head += 1
        passedCount -= 1
        if head == frames.count {
            frames.removeAll(keepingCapacity: true)
            head = 0
        } else if head > 1_024, head * 2 > frames.count {
            frames.removeFirst(head)
            head = 0
        }
    }

    mutating func takeAll() -> ArraySlice<KeptFrame> {
        let all = frames[head...]
        frames = []
        head = 0
        passedCount = 0
        return all
    }
}
