/// The dead and the departed, in the order in which they went. Every change is O(1), amortised: tens
/// of thousands can go, or return, in one frame.
struct DepartedMembers {
    private struct Entry {
        var index: MemberIndex
        var turn: UInt64
    }
    /// Entries of those who have returned stay until they are first, or more than the others.
    private var order = FIFO<Entry>()
    /// The entry of each member that counts. Only ever asked, never walked: no order comes of it.
    private var turns: [MemberIndex: UInt64] = [:]
    private var lastTurn: UInt64 = 0

    var count: Int { turns.count }
    var isEmpty: Bool { turns.isEmpty }

    /// The member that went first of those that have not returned.
    var first: MemberIndex? {
        mutating get {
            while let entry = order.first {
                if isCurrent(entry) { return entry.index }
                _ = order.popFirst()
            }
            return nil
        }
    }

    /// All of them, in the order in which they went. O(n).
    var indices: [MemberIndex] { order.waiting.filter(isCurrent).map(\.index) }

    mutating func append(_ index: MemberIndex) {
        lastTurn += 1
        turns[index] = lastTurn
        order.append(Entry(index: index, turn: lastTurn))
    }

    /// It has returned, or is forgotten.
    mutating func remove(_ index: MemberIndex) {
        guard turns.removeValue(forKey: index) != nil else { return }
        if order.count > 2 * turns.count + 64 {
            let current = turns
            order.removeAll { current[$0.index] != $0.turn }
        }
    }

    private func isCurrent(_ entry: Entry) -> Bool { turns[entry.index] == entry.turn }
}
