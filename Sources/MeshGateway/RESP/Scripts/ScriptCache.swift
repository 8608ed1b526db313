/// The scripts that a node knows by name: those that were loaded or have run here, the latest ones.
///
/// Beyond its bounds the one that has not been used for the longest time goes: to its clients that is
/// what SCRIPT FLUSH is in Redis, and they send the text again.
struct ScriptCache {
    private struct Entry {
        var script: Script
        var usedAt: UInt64
    }

    static let countMax = 1_024
    static let bytesMax = 4 * 1024 * 1024

    private var entries: [SHA1: Entry] = [:]
    private(set) var byteCount = 0
    private var clock: UInt64 = 0

    var count: Int { entries.count }

    func contains(_ name: SHA1) -> Bool { entries[name] != nil }

    /// The script of this name, which is used now.
    mutating func use(_ name: SHA1) -> Script? {
        clock += 1
        entries[name]?.usedAt = clock
        return entries[name]?.script
    }

    mutating func insert(_ script: Script, _ name: SHA1) {
        clock += 1
        if entries[name] == nil { byteCount += script.byteCount }
        entries[name] = Entry(script: script, usedAt: clock)
        while entries.count > 1, entries.count > Self.countMax || byteCount > Self.bytesMax {
            // Each has a time of its own: the order of the table does not matter.
            guard let oldest = entries.min(by: { $0.value.usedAt < $1.value.usedAt })?.key else {
                return
            }
            byteCount -= entries.removeValue(forKey: oldest)?.script.byteCount ?? 0
        }
    }

    mutating func removeAll() {
        entries.removeAll()
        byteCount = 0
    }
}
