import MeshWire

/// The slots of links and the list of those that are established.
///
/// A slab instead of an array: each slot begins a cache line, and to reach one takes no look at an
/// array's header. In a mesh of simulated nodes each look is a miss.
struct LinkTable: ~Copyable {
    private var slots: Slab<Link>
    /// All slots from here on are free.
    private var end = LinkIndex(0)
    /// Slots in state established, in the order of their peers' ids, so that no decision depends
    /// on the order of arrival.
    private(set) var established: [LinkIndex] = []

    init(slotCount: Int) {
        slots = Slab(capacity: slotCount, alignment: 64)
        for _ in 0..<slotCount { slots.append(Link()) }
    }

    subscript(index: LinkIndex) -> Link {
        @inline(__always) unsafeAddress { unsafe UnsafePointer(slots.pointer(to: index.slot)) }
        @inline(__always) unsafeMutableAddress { unsafe slots.pointer(to: index.slot) }
    }

    /// The slots that are not free, and some that are.
    var indices: Range<LinkIndex> { LinkIndex(0)..<end }

    @inline(__always)
    func isValid(_ index: LinkIndex) -> Bool {
        // Of no link the slot is a very large number.
        UInt(bitPattern: index.slot) < UInt(bitPattern: slots.count)
    }

    /// A slot to be used now, which is free; nil when there is none.
    mutating func free() -> LinkIndex? {
        for index in indices where self[index].state == .free { return index }
        guard isValid(end) else { return nil }
        defer { end = end.advanced(by: 1) }
        return end
    }

    /// No slot is free.
    var isFull: Bool { !isValid(end) && indices.allSatisfy { self[$0].state != .free } }

    mutating func establish(_ index: LinkIndex) {
        self[index].state = .established
        let peer = self[index].peer
        var position = 0
        while position < established.count, self[established[position]].peer <= peer {
            position += 1
        }
        established.insert(index, at: position)
    }

    /// Takes a link out of the overlay while its last frames still arrive.
    mutating func beginClosing(_ index: LinkIndex) {
        established.removeAll { $0 == index }
        self[index].state = .closing
    }

    mutating func release(_ index: LinkIndex) {
        if self[index].state == .established {
            established.removeAll { $0 == index }
        }
        self[index] = Link()
        while end.slot > 0, self[end.advanced(by: -1)].state == .free {
            end = end.advanced(by: -1)
        }
    }

    /// Slots that shake hands with, or dial, this peer.
    func handshake(with peer: NodeID, at endpoint: Endpoint) -> LinkIndex? {
        for index in indices where self[index].isShakingHands {
            let isSame = self[index].peer == peer || self[index].endpoint == endpoint
            if isSame, self[index].isDialled, self[index].purpose.isForLink { return index }
        }
        return nil
    }

    /// This node dials the address, for whatever purpose, and has no answer yet.
    func isDialling(_ endpoint: Endpoint) -> Bool {
        indices.contains {
            self[$0].isShakingHands && self[$0].isDialled && self[$0].endpoint == endpoint
        }
    }
}
