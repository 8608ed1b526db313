import MeshCore
import MeshWire

/// The directory's table at one million and ten million users on 1,000 nodes.
func benchDirectory(_ bench: inout Bench) {
    for count in bench.isQuick ? [1_000_000] : [1_000_000, 10_000_000] {
        let name = "directory/\(count / 1_000_000)M"
        guard bench.wants(name) else { continue }
        var table = DirectoryTable()
        bench.measure("\(name)/insert", operations: count, warmUp: false) {
            var random = Generator(state: 1)
            for index in 0..<count { table.insert(Key(random.next()), node: UInt16(index % 1_000)) }
        }
        bench.report("\(name)/bytes", Double(table.byteCount) / Double(count), unit: "bytes")
        // Keys are drawn again in the same order, which the table does not remember.
        let lookups = 1_000_000
        bench.measure("\(name)/hit", operations: lookups, isHotPath: true) {
            var random = Generator(state: 1)
            for _ in 0..<lookups { keep(table.nodeSum(Key(random.next()))) }
        }
        bench.measure("\(name)/miss", operations: lookups, isHotPath: true) {
            var random = Generator(state: 2)
            for _ in 0..<lookups { keep(table.nodeSum(Key(random.next()))) }
        }
        bench.measure("\(name)/scan", operations: count) {
            var sum = 0
            table.forEach { sum &+= Int($1) }
            keep(sum)
        }
        bench.measure("\(name)/remove", operations: count, warmUp: false) {
            var random = Generator(state: 1)
            for index in 0..<count { table.remove(Key(random.next()), node: UInt16(index % 1_000)) }
        }
    }
    benchHolders(&bench)
}

/// Channels with a subscriber on each of 100 nodes: the publish path reads them all.
private func benchHolders(_ bench: inout Bench) {
    guard bench.wants("directory/channel") else { return }
    var table = DirectoryTable()
    var random = Generator(state: 3)
    let keys = (0..<1_000).map { _ in Key(random.next()) }
    for node in 0..<100 {
        for key in keys { table.insert(key, node: UInt16(node * 7)) }
    }
    bench.report(
        "directory/channel of 100/bytes", Double(table.byteCount) / Double(table.count),
        unit: "bytes")
    bench.measure("directory/channel of 100/read", operations: keys.count * 100, isHotPath: true) {
        for round in 0..<100 {
            for key in keys { keep(table.nodeSum(key) &+ round) }
        }
    }
}

extension DirectoryTable {
    /// Reads all nodes of a key, as the publish path does.
    @inline(__always)
    fileprivate func nodeSum(_ key: Key) -> Int {
        switch holders(of: key) {
        case .none: return 0
        case .one(let node): return Int(node)
        case .many(let set):
            var sum = 0
            for index in 0..<set.count { sum &+= Int(node(in: set, at: index)) }
            return sum
        }
    }
}
