import MeshWire

/// Heartbeats carry the digest of all that a node knows, and measure round trips.
extension Node {
    /// Sends a heartbeat over every link that has been idle.
    mutating func beat(_ effects: inout EffectBuffer) {
        let period = configuration.timing.heartbeat
        timers[.heartbeat] = now + period
        spreadCoordinate(&effects)
        let own = coordinates.own
        for index in links.established where now - links[index].beatAt >= period {
            if Coordinates.isNews(own, since: links[index].toldCoordinate) {
                links[index].toldCoordinate = own
                let told = MemberCoordinate(id: id, coordinate: own)
                send(.coordinates([told]), over: index, &effects)
            }
            sendHeartbeat(over: index, &effects)
        }
    }

    mutating func sendHeartbeat(over index: LinkIndex, _ effects: inout EffectBuffer) {
        let isInTime = now - links[index].beatAt < configuration.timing.heartbeat * 2
        links[index].beatCount = isInTime ? min(links[index].beatCount, 254) + 1 : 0
        links[index].beatAt = now
        let echoDelay =
            links[index].peerSentAt == 0
            ? 0
            : UInt32(truncatingIfNeeded: (now - links[index].peerHeartbeatAt).microseconds)
        let frame = effects.bytes.appendLinkFrame(
            Heartbeat(
                digest: members.digest, sentAt: clockStamp, echo: links[index].peerSentAt,
                echoDelay: echoDelay))
        transmit(frame, .empty, .control, over: index, &effects)
    }

    /// Microseconds modulo 2^32, never 0, which means none.
    private var clockStamp: UInt32 {
        max(1, UInt32(truncatingIfNeeded: now.nanoseconds / 1_000))
    }

    mutating func receivedHeartbeat(
        _ heartbeat: Heartbeat, on index: LinkIndex, _ effects: inout EffectBuffer
    ) {
        noteEcho(heartbeat, on: index, &effects)
        if links[index].state != .established { return }
        links[index].peerSentAt = heartbeat.sentAt
        links[index].peerHeartbeatAt = now
        if heartbeat.echo != 0 {
            let micros = Int64(clockStamp &- heartbeat.echo) - Int64(heartbeat.echoDelay)
            if micros >= 0, micros < 60_000_000 {
                links[index].roundTrips.add(.microseconds(micros))
                if let roundTrip = links[index].roundTrips.smoothed {
                    coordinates.measured(
                        Double(roundTrip.microseconds) / 1_000, to: links[index].peerCoordinate,
                        &random)
                }
            }
        }
        if heartbeat.digest == members.digest {
            links[index].mismatches = 0
            compared(index, &effects)
            return
        }
        links[index].mismatches &+= 1
        // A single difference while things change is news on its way. The first heartbeat of a link
        // is different: there may have been no way for the news.
        // To compare is to tell half of the members or more while things change everywhere. In a
        // large mesh that is dear, and in vain while the news still travels: it waits until things
        // are calm, or for longer, the larger the mesh.
        let size = members.ring.count
        let isLarge = size > 512
        let isFresh =
            !isLarge && now - links[index].since < configuration.timing.heartbeat
            || now - gossip.changedAt > .milliseconds(100)
        let patience = isLarge ? 2 + size / 256 : 2
        if (isFresh || Int(links[index].mismatches) >= patience)
            && !isComparing(index, isLarge: isLarge)
        {
            links[index].comparedAt = now
            gossip.comparedAt = now
            if isLarge { links[index].mismatches = 0 }
            send(.digests(members.digests), over: index, &effects)
        }
    }
}
