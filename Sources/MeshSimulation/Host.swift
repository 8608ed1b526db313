import MeshCore
import MeshWire

/// A node and the driver's side of its links.
final class Host {
    var node: Node
    /// The connection of each link slot, -1: none.
    var connections: [Int32]
    /// When the next `.deadline` event is due that has not been overtaken by an earlier one.
    var deadline: Instant?
    /// Runs nothing until then; what comes meanwhile waits in order.
    var frozenUntil: Instant?
    var inbox: [Action] = []
    /// Its clock against the world's: an offset, and parts in a million that it runs fast.
    var clockOffset = Delay.zero
    var clockDrift: Int64 = 0
    /// When its line is free for the next bytes.
    var lineFree = Instant(nanoseconds: 0)
    var bytesOut = 0
    var bytesIn = 0
    /// It has said good-bye to everybody.
    var hasLeft = false
    var finished: [QueryID] = []
    var answers: [(query: QueryID, from: NodeID, answer: [UInt8])] = []
    var presences: [(key: Key, isOnline: Bool)] = []

    init(node: consuming Node, slotCount: Int) {
        self.node = node
        connections = [Int32](repeating: -1, count: slotCount)
    }

    /// The node's clock at a moment of the world's.
    @inline(__always)
    func localTime(_ time: Instant) -> Instant {
        if clockDrift == 0 { return time + clockOffset }
        return Instant(
            nanoseconds: time.nanoseconds + clockOffset.nanoseconds
                + Self.scaled(time.nanoseconds, clockDrift, 1_000_000))
    }

    /// The first moment of the world's clock at which the node's shows `local`.
    @inline(__always)
    func worldTime(_ local: Instant) -> Instant {
        if clockDrift == 0 { return local - clockOffset }
        let elapsed = local.nanoseconds - clockOffset.nanoseconds
        let time = Self.scaled(elapsed, 1_000_000, 1_000_000 + clockDrift)
        return Instant(nanoseconds: time + 1)
    }

    /// value · numerator / denominator, without overflow.
    private static func scaled(_ value: Int64, _ numerator: Int64, _ denominator: Int64) -> Int64 {
        let product = value.multipliedFullWidth(by: numerator)
        return denominator.dividingFullWidth(product).quotient
    }
}
