import MeshWire

/// Telling all nodes: each receiver serves an arc of the ring and splits it among its links.
///
///     origin: the whole ring
///     ●──┬───────┬─────────────┬─────── … ──●──┐
///        link 1   link 2        link 3          link 1
///        (1…2)    (2…3)         (3…1)
///
/// The last part reaches past the origin to its first link: while the origin is not linked with its
/// successor yet, the nodes between belong to somebody all the same.
///
/// n − 1 transmissions, no duplicate, depth like the hops (El-Ansary et al. 2003). What is lost when
/// a node dies meanwhile is found by its numbering (`Directory/Replication`).
extension Node {
    /// Sends a message to every other node.
    ///
    /// - Returns: the arcs that it went to.
    @discardableResult
    mutating func spread(
        _ message: Message, _ effects: inout EffectBuffer
    ) -> [Confirmations.Arc] {
        guard !links.established.isEmpty else { return [] }
        let start = effects.bytes.count
        effects.bytes.append(message)
        let slice = Slice(start: start, count: effects.bytes.count - start)
        let body = effects.bytes.withSpan { $0.array(slice) }
        var targets = arcTargets(length: .max, end: id, origin: id)
        if targets.count > 1 { targets[targets.count - 1].end = links[targets[0].link].peer }
        for target in targets {
            let head = effects.bytes.count
            effects.bytes.appendArcHeader(
                length: Frame.arcHeaderSize + body.count, hopsLeft: Frame.hopLimit, origin: id,
                end: target.end)
            effects.bytes.append(body)
            transmit(
                Slice(start: head, count: effects.bytes.count - head), .empty, .control,
                over: target.link, &effects)
        }
        return targets.map {
            Confirmations.Arc(peer: links[$0.link].peer, end: $0.end)
        }
    }

    private struct ArcTarget {
        var link: LinkIndex
        var position: UInt64
        var end: NodeID
    }

    /// The links that lie within `length` of this node, clockwise, each with the end of its part; `.max`:
    /// all, the node right before this one too.
    private func arcTargets(length: UInt64, end: NodeID, origin: NodeID) -> [ArcTarget] {
        var targets: [ArcTarget] = []
        for index in links.established
        where links[index].isUsable && links[index].peer != origin {
            let position = id.clockwise(to: links[index].peer)
            if position < length || length == .max {
                targets.append(ArcTarget(link: index, position: position, end: end))
            }
        }
        targets.sort { $0.position < $1.position }
        for offset in targets.indices.dropLast() {
            targets[offset].end = links[targets[offset + 1].link].peer
        }
        return targets
    }

    /// The others that are alive and lie on the ring from `start`, inclusive, to before `length` behind it.
    func living(
        from start: NodeID, before length: UInt64, except: NodeID? = nil, countMax: Int = .max
    ) -> [MemberIndex] {
        var living: [MemberIndex] = []
        let count = members.ring.count
        let rank = members.rank(of: start)
        for step in 0..<count where living.count < countMax {
            let entry = members.ring[(rank + step) % count]
            if start.clockwise(to: entry.id) >= length { break }
            if entry.index == .oneself || entry.id == except
                || members.status(of: entry.index) != .alive
            {
                continue
            }
            living.append(entry.index)
        }
        return living
    }

    /// The members from this node's successor on that lie nearer than this, clockwise. Where no link of
    /// an arc leads to them their neighbours on the ring have just died or come.
    func membersBefore(_ position: UInt64, not origin: NodeID) -> [MemberIndex] {
        living(from: id, before: position, except: origin, countMax: Self.skippedCountMax)
    }

    private static var skippedCountMax: Int { 64 }

    mutating func receivedArc(
        _ prefix: FramePrefix, _ start: Int, from link: LinkIndex, _ bytes: Span<UInt8>,
        _ effects: inout EffectBuffer
    ) throws(WireError) {
        let origin = NodeID(bytes.load(UInt64.self, at: start + 8))
        let end = NodeID(bytes.load(UInt64.self, at: start + 16))
        let message = try messageForAll(prefix, start, from: origin, bytes)
        guard origin != id else { return }
        let length = id.clockwise(to: end)
        let targets = arcTargets(length: length, end: end, origin: origin)
        if prefix.hopsLeft > 0 {
            let body = Slice(
                start: start + Frame.arcHeaderSize, count: prefix.length - Frame.arcHeaderSize)
            for target in targets {
                let head = effects.bytes.count
                effects.bytes.appendArcHeader(
                    length: prefix.length, prefix.flags, hopsLeft: prefix.hopsLeft - 1,
                    body: prefix.body, origin: origin, end: target.end)
                transmit(
                    Slice(start: head, count: effects.bytes.count - head), body, .control,
                    over: target.link, &effects)
            }
        } else {
            counters[.droppedHopLimit] &+= 1
        }
        switch message {
        case .records(let records):
            counters[.recordBytesLive] &+= UInt64(prefix.length)
            applyRecords(records, from: link, isLive: true, &effects)
            guard prefix.hopsLeft > 0 else { break }
            let skipped = membersBefore(targets.first?.position ?? length, not: origin)
            for index in skipped { sendControl(.records(records), to: index, &effects) }
            // Somebody may not have been reached: nothing is said for the arc.
            if skipped.count == Self.skippedCountMax { break }
            let children =
                targets.map { links[$0.link].peer } + skipped.map { members.id(of: $0) }
            acknowledge(records, passedTo: children, from: link, &effects)
        case .coordinates(let items): accept(items, from: origin)
        default: counters[.unknownMessages] &+= 1
        }
    }

    /// The message of an arc frame; nil: a later version's, of whose frame no more is read.
    ///
    /// - Throws: for a message that is not for all. It costs the link that it came over: no node of
    ///   this protocol passes it on.
    private func messageForAll(
        _ prefix: FramePrefix, _ start: Int, from origin: NodeID, _ bytes: Span<UInt8>
    ) throws(WireError) -> Message? {
        let at = start + Frame.arcHeaderSize
        guard prefix.flags.isEmpty, prefix.body == 0, Message.Number(rawValue: bytes[at]) != nil
        else {
            guard prefix.length <= Frame.unknownArcLengthMax else {
                throw .invalidValue(field: "length of an arc")
            }
            return nil
        }
        let message = try Message.decode(bytes, from: at, to: start + prefix.length)
        switch message {
        case .records(let records) where records.origin == origin && !records.isRepair:
            try checkPatterns(records.records)
        case .coordinates(let items) where items.count == 1 && items[0].id == origin: break
        default: throw .invalidValue(field: "message for all")
        }
        return message
    }
}
