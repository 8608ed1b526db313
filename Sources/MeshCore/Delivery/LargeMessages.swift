import MeshWire

/// Messages that go through the bulk lane in parts, of one flow, the oldest first.
///
///     sent: every part is numbered │ current │ waiting
///
/// A client's small messages stand here too while a large one of its own does, or they would overtake
/// it. All that is kept of a message is one parcel, for all its flows; a part names a piece of it.
struct LargeMessages {
    struct Item {
        var body: RoutedBody
        var key: Key
        var number: UInt32
        var sender: UInt64
        var copyCount: Int
        var nameCount: Int
        /// The whole (`Part`).
        var parcel: ParcelIndex
        var size: Int
        /// The payload begins with a label.
        var isLabelled: Bool
        /// It holds nobody up who sends something that is to arrive.
        var isVolatile = false
        /// Of the messages' lane: up to here all is acknowledged before the first part leaves; nil:
        /// nothing had been sent.
        var after: UInt32?
        /// Bytes that are in parts.
        var cut = 0
        /// The number of the last part, once all are numbered.
        var last: UInt32 = 0
    }

    private var sent = FIFO<Item>()
    var current: Item?
    private var waiting = FIFO<Item>()
    /// Messages by their senders.
    private var counts: [UInt64: Int] = [:]
    private(set) var count = 0
    /// The wholes of all that are not volatile.
    private(set) var bytes = 0
    /// Publishers of what goes here wait.
    var isCongested = false

    var isEmpty: Bool { count == 0 }

    func has(_ sender: UInt64) -> Bool { counts[sender] != nil }

    mutating func append(_ item: Item) {
        waiting.append(item)
        counts[item.sender, default: 0] += 1
        count += 1
        if !item.isVolatile { bytes += item.size }
    }

    /// The message whose next part is to be numbered; nil: there is none.
    mutating func next() -> Item? {
        if current == nil { current = waiting.popFirst() }
        return current
    }

    /// All parts of the current message have numbers, up to this one.
    mutating func finishCurrent(_ last: UInt32) {
        current!.last = last
        sent.append(current!)
        current = nil
    }

    /// Takes the oldest message if its last part is acknowledged.
    mutating func takeAcknowledged(through acknowledged: UInt32) -> Item? {
        guard let first = sent.first, Int32(bitPattern: acknowledged &- first.last) >= 0 else {
            return nil
        }
        _ = sent.popFirst()
        forget(first)
        return first
    }

    /// Takes the message whose last part has this number.
    mutating func takeSent(_ last: UInt32) -> Item? {
        guard let item = sent.waiting.first(where: { $0.last == last }) else { return nil }
        sent.removeAll { $0.last == last }
        forget(item)
        return item
    }

    /// Takes the messages to this user of which no part is numbered yet.
    mutating func takeWaiting(to key: Key) -> [Item] {
        let items = waiting.waiting.filter { $0.body.isParked && $0.key == key }
        waiting.removeAll { $0.body.isParked && $0.key == key }
        for item in items { forget(item) }
        return items
    }

    /// Takes all, the oldest first.
    mutating func takeAll() -> [Item] {
        let items = sent.waiting + (current.map { [$0] } ?? []) + waiting.waiting
        self = LargeMessages()
        return items
    }

    private mutating func forget(_ item: Item) {
        count -= 1
        if !item.isVolatile { bytes -= item.size }
        let left = counts[item.sender]! - 1
        counts[item.sender] = left == 0 ? nil : left
    }
}

/// The origin of large messages.
extension Node {
    /// Messages of more bytes, name and payload together, go in parts. A frame of this size takes 52 ms
    /// at 10 Mbit/s, and everything behind it waits for so long.
    package static var largeBytes: Int { 64 * 1024 }
    /// Bytes of a whole in one part: 26 ms at 10 Mbit/s, 0.13 s at 2 Mbit/s. Each part that arrives is
    /// acknowledged within 20 ms and puts the timeout of its flow off, which is 200 ms at least.
    private static var partBytes: Int { 32 * 1024 }

    /// Whether a message goes through the bulk lane: because it is large, or behind a large one of the
    /// same client to the same node.
    @inline(__always)
    func isBulky(_ message: OutgoingMessage, to index: MemberIndex) -> Bool {
        if Int(message.name.count) &+ Int(message.payload.count) > Self.largeBytes { return true }
        return flows.largeCount > 0 && !message.isVolatile
            && staysInBulk(message.sender, to: index)
    }

    @inline(never)
    private func staysInBulk(_ sender: UInt64, to index: MemberIndex) -> Bool {
        let flow = flows.flow(to: index, .bulk)
        return !flow.isNone && flows.outgoing[flow].large.has(sender)
    }

    /// Keeps a message for one node and sends as many parts of it as there is room for.
    ///
    /// - Parameter parcel: of the whole; none: it is made, for the other destinations too.
    /// - Returns: whether it is kept. If not, it has been reported; of a volatile one it is counted.
    @inline(never)
    mutating func publishBulky(
        _ message: OutgoingMessage, to index: MemberIndex, copyCount: Int,
        _ parcel: inout ParcelIndex, _ bytes: Span<UInt8>, _ outcome: inout PublishOutcome,
        _ effects: inout EffectBuffer
    ) -> Bool {
        let flow = outgoingFlow(to: index, .bulk)
        let size = Part.wholeHeaderSize + Int(message.name.count) + Int(message.payload.count)
        if message.isVolatile, !flows.outgoing[flow].large.isEmpty {
            counters[.droppedVolatile] &+= 1
            return false
        }
        guard mayKeepLarge(size, flow) else {
            noteLargeCongestion(flow, &outcome)
            report(
                message.body, message.key, message.name, message.sender, to: members.id(of: index),
                bytes, &effects)
            return false
        }
        if parcel.isNone {
            parcel = flows.retransmission.makeParcel(
                Part.whole(
                    message.body, isLabelled: message.isLabelled, number: outcome.number,
                    message.key, name: message.name, payload: message.payload, bytes))
        }
        flows.retransmission.retain(parcel)
        let messages = flows.flow(to: index)
        flows.outgoing[flow].large.append(
            LargeMessages.Item(
                body: message.body, key: message.key, number: outcome.number,
                sender: message.sender, copyCount: copyCount, nameCount: Int(message.name.count),
                parcel: parcel, size: size, isLabelled: message.isLabelled,
                isVolatile: message.isVolatile,
                after: messages.isNone ? nil : flows.outgoing[messages].last))
        flows.largeCount += 1
        if !message.isVolatile {
            if flows.outgoing[flow].large.bytes > configuration.flows.windowBytes
                || flows.outgoing[flow].large.count > configuration.flows.windowCount
            {
                noteLargeCongestion(flow, &outcome)
            }
            if flows.retransmission.byteCount > configuration.flows.totalBytes {
                flows.isCongested = true
                outcome.congestion = .allFlows
            }
        }
        sendParts(flow, &effects)
        return true
    }

    /// As `mayKeep`.
    private func mayKeepLarge(_ size: Int, _ flow: FlowIndex) -> Bool {
        let limits = configuration.flows
        let bytes = flows.outgoing[flow].large.bytes
        return
            (bytes == 0
            || bytes + size <= limits.windowBytes * 2
                && flows.outgoing[flow].large.count < limits.windowCount * 2)
            && flows.retransmission.byteCount <= limits.totalBytes * 2
    }

    private mutating func noteLargeCongestion(_ flow: FlowIndex, _ outcome: inout PublishOutcome) {
        if flows.retransmission.byteCount > configuration.flows.totalBytes {
            flows.isCongested = true
            outcome.congestion = .allFlows
            return
        }
        if !flows.outgoing[flow].large.isCongested {
            flows.outgoing[flow].large.isCongested = true
            flows.congestedCount += 1
        }
        let isWaitedFor = outcome.congestion == nil || flows.outgoing[flow].stall == .none
        if outcome.congestion != .allFlows, isWaitedFor {
            outcome.congestion = .largeMessages(flow)
        }
    }

    /// Numbers and sends parts of a flow's large messages, as far as its window goes. A session that
    /// found the window full goes first.
    mutating func sendParts(_ flow: FlowIndex, _ effects: inout EffectBuffer) {
        guard flows.outgoing[flow].lane == .bulk else { return }
        // The rest of the window is for sessions: a quarter of it is room enough for one to go on.
        let most = flows.outgoing[flow].window / 4 * 3
        while !flows.outgoing[flow].isCongested, flows.outgoing[flow].bytes < most,
            let item = flows.outgoing[flow].large.next(),
            mayBegin(item, to: flows.outgoing[flow].member)
        {
            if flows.outgoing[flow].mustSkip { tellSkip(flow, &effects) }
            let size = min(Self.partBytes, item.size - item.cut)
            let offset = flows.outgoing[flow].queue.count
            flows.retransmission.appendPart(
                Part(start: item.cut, size: item.size), count: size, parcel: item.parcel,
                to: &flows.outgoing[flow].queue)
            enrol(RetransmissionBuffer.headerSize + size, flow)
            flows.outgoing[flow].large.current!.cut += size
            if item.cut + size == item.size {
                flows.outgoing[flow].large.finishCurrent(flows.outgoing[flow].last)
            }
            // Behind what is sent again it takes its turn.
            if flows.outgoing[flow].isRecovering { continue }
            if sendKept(flow, flows.outgoing[flow].last, at: offset, &effects) == nil {
                stranded(flow)
            } else {
                counters[.retransmitted] &-= 1
            }
        }
    }

    /// Whether all that the same node was sent before in the messages' lane has arrived: else a large message could
    /// overtake small ones of its client.
    private func mayBegin(_ item: LargeMessages.Item, to index: MemberIndex) -> Bool {
        guard item.cut == 0, let after = item.after else { return true }
        let messages = flows.flow(to: index)
        return messages.isNone || flows.outgoing[messages].advance(to: after) <= 0
    }

    /// Something has been acknowledged in either lane to a node: large messages may be there, and others
    /// may begin.
    @inline(never)
    mutating func continueLarge(_ flow: FlowIndex, _ effects: inout EffectBuffer) {
        let bulk =
            flows.outgoing[flow].lane == .bulk
            ? flow : flows.flow(to: flows.outgoing[flow].member, .bulk)
        guard !bulk.isNone, !flows.outgoing[bulk].large.isEmpty else { return }
        while let item = flows.outgoing[bulk].large.takeAcknowledged(
            through: flows.outgoing[bulk].acknowledged)
        {
            forgetLarge(item)
        }
        relieveLarge(bulk, &effects)
        sendParts(bulk, &effects)
    }

    mutating func forgetLarge(_ item: LargeMessages.Item) {
        flows.retransmission.release(item.parcel)
        flows.largeCount -= 1
    }

    /// Publishers of large messages may go on when less than half of what they may keep is kept.
    mutating func relieveLarge(_ flow: FlowIndex, _ effects: inout EffectBuffer) {
        if flows.outgoing[flow].large.isCongested,
            flows.outgoing[flow].large.bytes <= configuration.flows.windowBytes / 2,
            flows.outgoing[flow].large.count <= configuration.flows.windowCount / 2
        {
            flows.outgoing[flow].large.isCongested = false
            flows.congestedCount -= 1
            effects.append(.uncongested)
        }
        relieveAll(&effects)
    }

    /// The destination is gone: the senders of its large messages are told.
    mutating func giveUpLarge(_ flow: FlowIndex, _ effects: inout EffectBuffer) {
        if flows.outgoing[flow].large.isEmpty { return }
        let isCongested = flows.outgoing[flow].large.isCongested
        for item in flows.outgoing[flow].large.takeAll() {
            let bytes = flows.retransmission.bytes(of: item.parcel)
            report(
                item.body, item.key, Slice(start: Part.wholeHeaderSize, count: item.nameCount),
                item.sender, to: flows.outgoing[flow].destination, bytes.span, &effects)
            forgetLarge(item)
        }
        flows.outgoing[flow].large.isCongested = isCongested
        relieveLarge(flow, &effects)
    }

    /// A large message has found its user gone, and so do those to the same user that have not left.
    mutating func takeBackLarge(
        _ number: UInt32, _ flow: FlowIndex, _ barrier: ReturnBarrier,
        _ effects: inout EffectBuffer
    ) {
        guard let first = flows.outgoing[flow].large.takeSent(number) else { return }
        for item in [first] + flows.outgoing[flow].large.takeWaiting(to: first.key) {
            let bytes = flows.retransmission.bytes(of: item.parcel)
            forgetLarge(item)
            guard goesOn(item.number, item.sender, copyCount: item.copyCount, &effects) else {
                continue
            }
            let message = ParkedMessage(
                sender: item.sender, number: item.number, nameCount: item.nameCount,
                isLabelled: item.isLabelled, bytes: Array(bytes[Part.wholeHeaderSize...]))
            park(message, to: item.key, behind: barrier, &effects)
        }
        relieveLarge(flow, &effects)
    }
}
