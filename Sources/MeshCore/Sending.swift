import MeshWire

/// How control messages leave the node.
extension Node {
    /// One message over one link; in several parts if its list is too long for one.
    mutating func send(
        _ message: Message, over link: LinkIndex, _ effects: inout EffectBuffer
    ) {
        if let parts = message.parts {
            for part in parts { send(part, over: link, &effects) }
            return
        }
        let frame = effects.bytes.appendLinkFrame(message)
        transmit(frame, .empty, .control, over: link, &effects)
    }

    /// The same message over several links, encoded once.
    mutating func send(
        _ message: Message, over targets: [LinkIndex], _ effects: inout EffectBuffer
    ) {
        if targets.isEmpty { return }
        if let parts = message.parts {
            for part in parts { send(part, over: targets, &effects) }
            return
        }
        let frame = effects.bytes.appendLinkFrame(message)
        for link in targets { transmit(frame, .empty, .control, over: link, &effects) }
    }

    /// A message to other nodes wherever they are, one copy per link on the way.
    mutating func send(
        _ message: Message, to recipients: [NodeID], _ effects: inout EffectBuffer
    ) {
        let start = effects.bytes.count
        effects.bytes.append(message)
        let payload = Slice(start: start, count: effects.bytes.count - start)
        routeControl(payload, to: recipients, [], &effects)
    }

    @inline(__always)
    mutating func transmit(
        _ head: Slice, _ body: Slice, _ priority: SendClass, over link: LinkIndex,
        _ effects: inout EffectBuffer
    ) {
        links[link].sentAt = now
        links[link].framesOut &+= 1
        links[link].bytesOut &+= UInt64(
            truncatingIfNeeded: Int(head.count) &+ Int(body.count))
        effects.appendSend(link, head: head, body: body, priority)
    }
}
