import MeshWire

/// The slots of links and the list of those that are established.
struct LinkTable {
    private var slots: [Link]
    /// Slots in state established, in the order of their peers' ids, so that no decision depends
    /// on the order of arrival.
    private(set) var established: [LinkIndex] = []

    init(slotCount: Int) {
        slots = [Link](repeating: Link(), count: slotCount)
    }

    @inline(__always)
    subscript(index: LinkIndex) -> Link {
        _read { yield slots[Int(index)] }
        _modify { yield &slots[Int(index)] }
    }

    var indices: Range<LinkIndex> { 0..<LinkIndex(slots.count) }

    func isValid(_ index: LinkIndex) -> Bool { index >= 0 && index < slots.count }

    /// A free slot; nil when there is none.
    func free() -> LinkIndex? {
        indices.first { slots[Int($0)].state == .free }
    }

    mutating func establish(_ index: LinkIndex) {
        slots[Int(index)].state = .established
        let peer = slots[Int(index)].peer
        let place = established.firstIndex { slots[Int($0)].peer > peer } ?? established.count
        established.insert(index, at: place)
    }

    /// Takes a link out of the overlay while its last frames still arrive.
    mutating func beginClosing(_ index: LinkIndex) {
        established.removeAll { $0 == index }
        slots[Int(index)].state = .closing
    }

    mutating func release(_ index: LinkIndex) {
        if slots[Int(index)].state == .established {
            established.removeAll { $0 == index }
        }
        slots[Int(index)] = Link()
    }

    /// Slots that shake hands with, or dial, this peer.
    func handshake(with peer: NodeID, at endpoint: Endpoint) -> LinkIndex? {
        indices.first {
            let link = slots[Int($0)]
            return link.isShakingHands && link.isDialled && link.purpose != .introduce
                && (link.peer == peer || link.endpoint == endpoint)
        }
    }
}
