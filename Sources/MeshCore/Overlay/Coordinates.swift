import MeshWire

/// An estimate of the round trip to a member, without having measured it: network coordinates
/// (Vivaldi; Dabek, Cox, Kaashoek, Morris, SIGCOMM 2004).
///
/// Each heartbeat that comes back measures a round trip to a neighbour; this node then moves its
/// own coordinate a little, as a spring between the two would, so that their distance comes nearer
/// to what was measured. After some hundred samples (ten seconds) the distance of any two
/// coordinates is an estimate of their round trip.
///
/// Differences from the paper: round trips below a millisecond count as one when errors are
/// weighed, since on one switch all is noise; three dimensions and a height.
///
/// **What it costs.** A neighbour is told when this node has moved by a millisecond, everybody when
/// it has moved a lot, ever more rarely. Where all round trips are below a few milliseconds nobody
/// moves, nobody is told, and choices are as random as without coordinates.
struct Coordinates {
    private(set) var x = 0.0
    private(set) var y = 0.0
    private(set) var z = 0.0
    private(set) var height = 0.1
    /// The weighted mean of the relative errors of estimates; 1: nothing is known.
    private(set) var error = 1.0
    /// The coordinates that members have told, by index; nil, or past the end: none yet. On a LAN it
    /// stays empty.
    private var told: [Coordinate?] = []
    /// The coordinate that everybody was last told of this node, and when it is next looked at.
    private var spread = Coordinate.origin
    private(set) var spreadAfter: Instant
    private var spreadPause = Delay.seconds(4)

    init(at now: Instant) {
        spreadAfter = now + spreadPause
    }

    /// cc and ce of the paper (§3.4).
    private static var gain: Double { 0.25 }

    // MARK: This node

    var own: Coordinate {
        func clamp(_ milliseconds: Double) -> Int16 {
            Int16(max(-32_000, min(32_000, (milliseconds * 10).rounded())))
        }
        return Coordinate(
            x: clamp(x), y: clamp(y), z: clamp(z), height: UInt16(max(1, clamp(height))),
            error: UInt8(max(1, min(100, (error * 100).rounded()))))
    }

    /// A round trip to a member was measured, in milliseconds. A member that has told nothing lies
    /// where everybody begins.
    mutating func measured(
        _ milliseconds: Double, to peer: Coordinate, _ random: inout RandomSource
    ) {
        var (dx, dy, dz) = (
            x - Double(peer.x) / 10, y - Double(peer.y) / 10, z - Double(peer.z) / 10
        )
        let plane = (dx * dx + dy * dy + dz * dz).squareRoot()
        let heights = height + Double(peer.height) / 10
        let predicted = plane + heights
        let weight = error / (error + Double(peer.error) / 100)
        let relative = abs(predicted - milliseconds) / max(milliseconds, 1)
        let share = Self.gain * weight
        error = max(0.01, min(1, relative * share + error * (1 - share)))
        let force = share * (milliseconds - predicted)
        if plane > 0.01 {
            (dx, dy, dz) = (dx / predicted, dy / predicted, dz / predicted)
        } else {
            // On the same spot any direction leads apart.
            (dx, dy, dz) = (
                random.nextUnit() - 0.5, random.nextUnit() - 0.5, random.nextUnit() - 0.5
            )
        }
        x += force * dx
        y += force * dy
        z += force * dz
        height = max(0.1, height + force * heights / predicted)
    }

    /// Whether a neighbour that was last told `former` should be told that this node is here now.
    static func isNews(_ own: Coordinate, since former: Coordinate) -> Bool {
        let moved = Self.distance(own, former)
        // An error means nothing to those who are all on one spot.
        let isApart = Self.distance(own, .origin) > 20
        return moved >= 10
            || isApart && abs(Int(own.error) - Int(former.error)) >= 10
    }

    /// Tenths of milliseconds by which one has moved; heights count by their difference.
    private static func distance(_ one: Coordinate, _ other: Coordinate) -> Double {
        let (dx, dy, dz) = (
            Double(one.x) - Double(other.x), Double(one.y) - Double(other.y),
            Double(one.z) - Double(other.z)
        )
        return (dx * dx + dy * dy + dz * dz).squareRoot()
            + abs(Double(one.height) - Double(other.height))
    }

    /// Whether everybody should be told: this node has moved by 3 ms and by a fifth of the way to
    /// the middle of all. At most every four seconds, and with each time half as often.
    mutating func takeSpread(at now: Instant) -> Coordinate? {
        guard now >= spreadAfter, error < 0.5 else { return nil }
        let own = own
        let moved = Self.distance(own, spread)
        guard moved >= 30, moved * 5 >= Self.distance(own, .origin) else { return nil }
        spread = own
        spreadAfter = now + spreadPause
        spreadPause = min(spreadPause * 2, .seconds(600))
        return own
    }

    // MARK: Others

    /// Somebody new has this index.
    mutating func admit(_ index: MemberIndex) {
        if index.slot < told.count { told[index.slot] = nil }
    }

    mutating func accept(_ coordinate: Coordinate, of index: MemberIndex) {
        while told.count <= index.slot { told.append(nil) }
        told[index.slot] = coordinate
    }

    func coordinate(of index: MemberIndex) -> Coordinate? {
        index.slot < told.count ? told[index.slot] : nil
    }

    /// The round trip to a member, in milliseconds; nil: not known.
    func estimate(_ index: MemberIndex) -> Double? {
        guard let peer = coordinate(of: index) else { return nil }
        let (dx, dy, dz) = (
            x - Double(peer.x) / 10, y - Double(peer.y) / 10, z - Double(peer.z) / 10
        )
        return (dx * dx + dy * dy + dz * dz).squareRoot() + height + Double(peer.height) / 10
    }

    /// Round trips of one class are as good as equal: each is half as long again as the one before;
    /// all up to a millisecond are the first. So noise decides nothing, and on a LAN nothing does.
    static func roundTripClass(_ milliseconds: Double) -> Int {
        guard milliseconds > 1 else { return 0 }
        return 1 + Int(log2(milliseconds) / 0.5849625007211562)
    }

    func roundTripClass(_ index: MemberIndex) -> Int? {
        estimate(index).map(Self.roundTripClass)
    }

    /// Of two members at these round trips the second is worth a change of links: two classes nearer,
    /// where that is milliseconds.
    static func isWorthChange(from current: Double, to other: Double) -> Bool {
        current >= 5 && roundTripClass(other) + 2 <= roundTripClass(current)
    }
}

extension Node {
    /// Tells everybody, rarely.
    mutating func spreadCoordinate(_ effects: inout EffectBuffer) {
        guard !links.established.isEmpty, let own = coordinates.takeSpread(at: now) else { return }
        spread(.coordinates([MemberCoordinate(id: id, coordinate: own)]), &effects)
    }

    /// All coordinates that this node knows, for a node that asks who is here.
    mutating func tellCoordinates(over index: LinkIndex, _ effects: inout EffectBuffer) {
        var known: [MemberCoordinate] = []
        for entry in members.ring {
            guard let coordinate = coordinates.coordinate(of: entry.index) else { continue }
            known.append(MemberCoordinate(id: entry.id, coordinate: coordinate))
            if known.count == MemberCoordinate.countMax {
                send(.coordinates(known), over: index, &effects)
                known.removeAll(keepingCapacity: true)
            }
        }
        if !known.isEmpty { send(.coordinates(known), over: index, &effects) }
    }

    /// - Parameter teller: whose word on itself replaces what is known; on others a first word counts.
    mutating func accept(_ received: [MemberCoordinate], from teller: NodeID) {
        for item in received {
            guard let index = members.index(of: item.id), index != .oneself else { continue }
            if item.id == teller || coordinates.coordinate(of: index) == nil {
                coordinates.accept(item.coordinate, of: index)
                for link in links.established where links[link].member == index {
                    links[link].peerCoordinate = item.coordinate
                }
            }
        }
    }
}
