import MeshCore

/// Paths that drop large packets without a word: tunnels inside a network whose packets have the size of
/// theirs.
extension World {
    /// With the least packets that each machine takes a path is whole again that passes these.
    static let smallPacketBytes = 600

    /// Between two hosts nothing larger passes; nil: all does.
    public mutating func narrow(_ one: Int, _ other: Int, to bytes: Int?) {
        network.narrow(one, other, to: bytes)
    }

    /// The same for all that one host sends and receives.
    public mutating func narrow(_ host: Int, to bytes: Int?) {
        network.narrow(host, to: bytes)
    }

    /// Whether a frame does not arrive: it is too large for the way, or behind one that was. The connection
    /// sends that one again and again.
    mutating func isSwallowed(_ action: Action) -> Bool {
        let connection = action.connection
        let ends = connections[connection]
        let passes = network.passes(from: Int(ends.dialler), to: Int(ends.acceptor))
        guard passes < Int.max, !(ends.isSmall && passes >= Self.smallPacketBytes) else {
            return false
        }
        let isHollow = action.isToDialler ? ends.toDialler.isHollow : ends.toAcceptor.isHollow
        if isHollow || Int(action.parcel.count) <= passes { return isHollow }
        if action.isToDialler {
            connections[connection].toDialler.isHollow = true
        } else {
            connections[connection].toAcceptor.isHollow = true
        }
        return true
    }
}
