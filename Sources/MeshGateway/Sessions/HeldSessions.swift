import MeshWire

/// The sessions that one client has, found by the user's key.
///
/// Almost every client has one; a client that stands for many users may have hundreds of thousands.
/// A few are looked through, more are indexed: adding, finding and removing are O(1) either way, and
/// so is the end of a client that has n of them O(n). Users whose keys are equal are told apart by an
/// ordinal.
///
///     entries:    (key, session)  (key, session)  …      in no order once one was removed
///     positions:  (key, ordinal) ─▶ where in entries     empty up to `scannedMax` entries
struct HeldSessions {
    struct Entry {
        var key: Key
        var session: UserSessionIndex
    }

    private struct Slot: Hashable {
        var key: UInt64
        var ordinal: Int32
    }

    private(set) var entries: [Entry] = []
    private var positions: [Slot: Int32] = [:]

    /// So many keys are compared as fast as a hash is made. A guess, not yet measured.
    static let scannedMax = 8

    var isEmpty: Bool { entries.isEmpty }

    /// A session of this key, of which `isWanted` says yes.
    @inline(__always)
    func first(
        _ key: Key, where isWanted: (UserSessionIndex) -> Bool = { _ in true }
    ) -> UserSessionIndex? {
        if positions.isEmpty {
            for entry in entries where entry.key == key && isWanted(entry.session) {
                return entry.session
            }
            return nil
        }
        return indexed(key, where: isWanted)
    }

    @inline(never)
    private func indexed(
        _ key: Key, where isWanted: (UserSessionIndex) -> Bool
    ) -> UserSessionIndex? {
        var slot = Slot(key: key.rawValue, ordinal: 0)
        while let position = positions[slot] {
            let session = entries[Int(position)].session
            if isWanted(session) { return session }
            slot.ordinal += 1
        }
        return nil
    }

    mutating func append(_ session: UserSessionIndex, _ key: Key) {
        entries.append(Entry(key: key, session: session))
        if !positions.isEmpty {
            positions[end(key)] = Int32(entries.count - 1)
        } else if entries.count > Self.scannedMax {
            for (position, entry) in entries.enumerated() {
                positions[end(entry.key)] = Int32(position)
            }
        }
    }

    /// The last entry takes the place of the one that is removed, in both lists.
    mutating func remove(_ session: UserSessionIndex, _ key: Key) {
        guard let position = position(session, key) else { return }
        if !positions.isEmpty { vacate(key, position) }
        let last = entries.count - 1
        if position != last {
            let moved = entries[last]
            if !positions.isEmpty { positions[slot(moved.key, last)] = Int32(position) }
            entries[position] = moved
        }
        entries.removeLast()
    }

    mutating func removeAll() {
        entries = []
        positions = [:]
    }

    private func position(_ session: UserSessionIndex, _ key: Key) -> Int? {
        if positions.isEmpty { return entries.firstIndex { $0.session == session } }
        var slot = Slot(key: key.rawValue, ordinal: 0)
        while let position = positions[slot] {
            if entries[Int(position)].session == session { return Int(position) }
            slot.ordinal += 1
        }
        return nil
    }

    /// The first ordinal of this key that is free.
    private func end(_ key: Key) -> Slot {
        var slot = Slot(key: key.rawValue, ordinal: 0)
        while positions[slot] != nil { slot.ordinal += 1 }
        return slot
    }

    /// The slot that leads to this position. There must be one.
    private func slot(_ key: Key, _ position: Int) -> Slot {
        var slot = Slot(key: key.rawValue, ordinal: 0)
        while positions[slot] != Int32(position) { slot.ordinal += 1 }
        return slot
    }

    /// Takes a position out, and closes the gap in the ordinals of its key.
    private mutating func vacate(_ key: Key, _ position: Int) {
        let hole = slot(key, position)
        var last = end(key)
        last.ordinal -= 1
        positions[hole] = positions[last]
        positions[last] = nil
    }
}
