/// Numbers to places in a table: open addressing, linear probing, at most half full.
struct PlaceMap {
    private var keys: [UInt64] = []
    private var values: [UInt32] = []
    private var count = 0
    private static let none = UInt32.max
    private let secret: UInt64

    /// - Parameter secret: unknown to others, so that nobody can choose keys that fall on one place.
    init(secret: UInt64) { self.secret = secret }

    @inline(__always)
    private func home(_ key: UInt64) -> Int {
        Int(truncatingIfNeeded: RandomSource.mix(key ^ secret)) & (keys.count - 1)
    }

    /// The value, -1 if the key is not there.
    @inline(__always)
    func find(_ key: UInt64) -> Int32 {
        if keys.isEmpty { return -1 }
        var at = home(key)
        while values[at] != Self.none {
            if keys[at] == key { return Int32(bitPattern: values[at]) }
            at = (at + 1) & (keys.count - 1)
        }
        return -1
    }

    mutating func insert(_ key: UInt64, _ value: UInt32) {
        if (count + 1) * 2 > keys.count { grow() }
        var at = home(key)
        while values[at] != Self.none, keys[at] != key { at = (at + 1) & (keys.count - 1) }
        if values[at] == Self.none { count += 1 }
        keys[at] = key
        values[at] = value
    }

    mutating func remove(_ key: UInt64) {
        guard find(key) >= 0 else { return }
        var hole = home(key)
        while keys[hole] != key || values[hole] == Self.none {
            hole = (hole + 1) & (keys.count - 1)
        }
        // Pull back what probed past the hole (Knuth 6.4, algorithm R).
        var at = hole
        while true {
            at = (at + 1) & (keys.count - 1)
            if values[at] == Self.none { break }
            let distance = (at - home(keys[at])) & (keys.count - 1)
            if distance >= (at - hole) & (keys.count - 1) {
                keys[hole] = keys[at]
                values[hole] = values[at]
                hole = at
            }
        }
        values[hole] = Self.none
        count -= 1
    }

    private mutating func grow() {
        let oldKeys = keys
        let oldValues = values
        let capacity = max(16, keys.count * 2)
        keys = [UInt64](repeating: 0, count: capacity)
        values = [UInt32](repeating: Self.none, count: capacity)
        count = 0
        for index in oldKeys.indices where oldValues[index] != Self.none {
            insert(oldKeys[index], oldValues[index])
        }
    }
}
