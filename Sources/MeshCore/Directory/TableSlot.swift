import MeshWire

/// Eight bytes of a bucket or an overflow page; see `DirectoryTable`.
struct TableSlot: Equatable {
    var rawValue: UInt64

    @inline(__always) init(rawValue: UInt64) { self.rawValue = rawValue }

    @inline(__always) init(_ key: Key, _ node: UInt16) {
        rawValue = key.rawValue << 16 | UInt64(node)
    }

    @inline(__always) init(_ key: Key, _ set: HolderSets.ID) {
        rawValue = (key.rawValue >> 32) << 48 | UInt64(set.rawValue) << 16 | Self.many
    }

    @inline(__always) init(page: Int) {
        rawValue = UInt64(page) << 16 | Self.link
    }

    private static var crowded: UInt64 { 0xFFFC }
    private static var many: UInt64 { 0xFFFD }
    private static var link: UInt64 { 0xFFFE }

    @inline(__always) static var free: TableSlot { TableSlot(rawValue: .max) }
    @inline(__always) static var crowd: TableSlot { TableSlot(rawValue: crowded) }
    @inline(__always) var isCrowd: Bool { rawValue & 0xFFFF == Self.crowded }
    @inline(__always) var isMany: Bool { rawValue & 0xFFFF == Self.many }
    @inline(__always) var isLink: Bool { rawValue & 0xFFFF == Self.link }
    @inline(__always) var node: UInt16 { UInt16(truncatingIfNeeded: rawValue) }
    @inline(__always) var key: Key { Key(rawValue >> 16) }
    @inline(__always) var set: HolderSets.ID {
        HolderSets.ID(rawValue: UInt32(truncatingIfNeeded: rawValue >> 16))
    }
    @inline(__always) var page: Int { Int(rawValue >> 16) }
}
