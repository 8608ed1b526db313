import MeshWire

/// Places for connections that others have opened and that are no links yet.
///
/// They are 64, whoever has them, so that the other slots are left to this node's links and to those that it
/// dials itself. When all are taken a newcomer gets the place of the connection that has been silent longest:
///
///     1. of those that have brought nothing
///     2. of those that have brought something, if all the others have only just come
///     3. of those that have only just come, if there are no others
///
/// A peer says hello together with the last packet of its connection's handshake, so that it keeps its place
/// while strangers come and go in all the others.
extension Node {
    /// A guess: twice as many as a node of degree 16 has neighbours and candidates for it.
    static var greetingCountMax: Int { 64 }
    /// A connection this young may have brought its hello without anybody having read it. A guess; with
    /// 64 places, strangers need 12,800 connections a second to have only such ones.
    private static var greetingGrace: Delay { .milliseconds(5) }

    /// A slot for a connection that the driver has accepted; nil when all are taken: close it.
    ///
    /// Another connection may be closed to make room for it. Effects are to be performed before the slot is
    /// used: it may be the same.
    public mutating func acceptLink(
        at now: Instant, into effects: inout EffectBuffer
    ) -> LinkIndex? {
        if now > self.now { self.now = now }
        makeGreetingRoom(&effects)
        guard let index = links.free() else { return nil }
        links[index].state = .awaiting
        begin(index)
        return index
    }

    private mutating func makeGreetingRoom(_ effects: inout EffectBuffer) {
        var count = 0
        var victim = LinkIndex.none
        var rank = Int.max
        for index in links.indices where links[index].isGreeted {
            count += 1
            let other = greetingRank(index)
            let isSilentLonger = victim.isNone || links[index].heardAt < links[victim].heardAt
            if other < rank || other == rank && isSilentLonger {
                victim = index
                rank = other
            }
        }
        guard !victim.isNone, count >= Self.greetingCountMax || links.isFull else { return }
        counters[.greetingsDisplaced] &+= 1
        effects.append(.log(.greetingDisplaced(victim)))
        forget(victim, &effects)
    }

    /// The lowest goes first.
    private func greetingRank(_ index: LinkIndex) -> Int {
        let hasSpoken = links[index].heardAt > links[index].since
        if hasSpoken || links[index].state == .introducing { return 1 }
        return now - links[index].since < Self.greetingGrace ? 2 : 0
    }
}
