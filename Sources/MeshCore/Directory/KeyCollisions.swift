import MeshWire

/// Names that a node does not have although the table says so: another name there has the same key.
///
/// Keys are 48 bits (`Key`), so among ten million names one pair shares a key with probability 0.16.
/// A message carries its name in full, so nobody gets what is not for it; but its origin counts a
/// node too many, and sends it a copy for nothing, until that node says so. What it says is
/// remembered here by the whole hash of the name, and forgotten as soon as the node's entries of
/// the key change, or the node goes.
struct KeyCollisions {
    /// The pairs that are remembered; the oldest is forgotten for a new one.
    static let countMax = 4_096

    private struct Pair {
        var name: UInt64
        var node: NodeID
    }
    private var pairs: [Key: [Pair]] = [:]
    /// The keys of `pairs`, oldest first, each as often as it has pairs or oftener.
    private var ages = FIFO<Key>()
    /// How many pairs each node is in.
    private var counts: [NodeID: Int] = [:]
    private(set) var count = 0

    @inline(__always) var isEmpty: Bool { count == 0 }

    @inline(__always)
    func mayHave(_ key: Key) -> Bool { count > 0 && pairs[key] != nil }

    func contains(_ key: Key, name: UInt64, at node: NodeID) -> Bool {
        pairs[key]?.contains { $0.name == name && $0.node == node } ?? false
    }

    mutating func insert(_ key: Key, name: UInt64, at node: NodeID) {
        if contains(key, name: name, at: node) { return }
        if ages.count >= Self.countMax, let oldest = ages.popFirst() { forget(oldest) }
        pairs[key, default: []].append(Pair(name: name, node: node))
        ages.append(key)
        counts[node, default: 0] += 1
        count += 1
    }

    /// The node's entries of this key have changed.
    mutating func forget(_ key: Key, at node: NodeID) {
        guard let former = pairs[key] else { return }
        let left = former.filter { $0.node != node }
        struck(node, former.count - left.count)
        pairs[key] = left.isEmpty ? nil : left
    }

    /// The node is gone, or all that it holds comes anew.
    mutating func forget(at node: NodeID) {
        // Most nodes that go are in no pair: a look at each pair for each of them would be dear.
        if counts[node] == nil { return }
        for key in Array(pairs.keys) { forget(key, at: node) }
    }

    private mutating func forget(_ key: Key) {
        for pair in pairs.removeValue(forKey: key) ?? [] { struck(pair.node, 1) }
    }

    private mutating func struck(_ node: NodeID, _ number: Int) {
        if number == 0 { return }
        count -= number
        let left = counts[node, default: 0] - number
        counts[node] = left > 0 ? left : nil
    }
}

extension Node {
    /// The nodes that hold a user's key, in order of their ids, but for those that are known to
    /// mean another user by it.
    ///
    /// - Parameters:
    ///   - name: `KeyHasher.nameDigest` of the user's name.
    ///   - isHere: a client of this node is attached to the user.
    public func holders(of key: Key, name: UInt64, isHere: Bool) -> [NodeID] {
        holderIndices(of: key, name: name, isHere: isHere).map { members.id(of: $0) }.sorted()
    }

    /// Whether any node is in `holders(of:name:isHere:)`.
    public func hasHolder(_ key: Key, name: UInt64, isHere: Bool) -> Bool {
        isHere || !holderIndices(of: key, name: name, isHere: isHere).isEmpty
    }

    private func holderIndices(of key: Key, name: UInt64, isHere: Bool) -> [MemberIndex] {
        let hasCollisions = directory.collisions.mayHave(key)
        return holderIndices(of: key).filter { index in
            if index == .oneself { return isHere }
            return !hasCollisions
                || !directory.collisions.contains(key, name: name, at: members.id(of: index))
        }
    }

    /// The whole hash of a name, which tells names of one key apart.
    func nameHash(_ body: RoutedBody, _ name: Slice, _ bytes: Span<UInt8>) -> UInt64 {
        hasher.nameDigest(body, bytes, Int(name.start), Int(name.count))
    }

    /// A message came for a name that nobody here has, while another of its key is here: its origin
    /// is told.
    mutating func tellWrongName(
        _ body: RoutedBody, _ key: Key, name: Slice, from origin: NodeID, _ bytes: Span<UInt8>,
        _ effects: inout EffectBuffer
    ) {
        guard let index = members.index(of: origin), index != .oneself,
            members.status(of: index).isPresent
        else { return }
        counters[.keyCollisions] &+= 1
        sendControl(
            .wrongName(
                key, name: nameHash(body, name, bytes), sequence: members[.oneself].log.sequence),
            to: index, &effects)
    }

    /// The holder of a key does not have the name that was meant. What it says holds as far as its
    /// log has come when it says it: if it has come further since, the name may be there now, and
    /// the next message will tell.
    mutating func receivedWrongName(_ key: Key, name: UInt64, sequence: UInt64, from node: NodeID) {
        guard let index = members.index(of: node), index != .oneself,
            members[index].log.sequence <= sequence, holderIndices(of: key).contains(index)
        else { return }
        directory.collisions.insert(key, name: name, at: node)
    }
}
