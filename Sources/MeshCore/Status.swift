import MeshWire

/// A member as an operator sees it.
public struct MemberReport: Sendable {
    public var id: NodeID
    public var incarnation: Incarnation
    public var status: MemberStatus
    public var endpoint: Endpoint
    public var name: String
    public var zone: String
    /// The latest version of the wire that it speaks.
    public var wireVersion: UInt16
    /// Keys and patterns that this member holds, as far as this node knows.
    public var keyCount: Int
    public var isSelf: Bool
    /// It sends its clients elsewhere, and then leaves.
    public var isDraining: Bool

    /// `alive`, `leaving`, `suspect`, `dead` or `left`.
    public var statusName: String {
        isDraining && status == .alive ? "leaving" : "\(status)"
    }
}

/// A link as an operator sees it.
public struct LinkStatus: Sendable {
    public var index: LinkIndex
    public var peer: NodeID
    public var endpoint: Endpoint
    /// `successor`, `predecessor`, `long-range`, `mesh` (small clusters), joined by `+`.
    public var role: String
    /// Smoothed, pauses left out; nil until measured.
    public var roundTrip: Delay?
    public var isDoubted: Bool
    /// It carries what finds no other way: something that was sent over it did not arrive.
    public var isSecondChoice: Bool
    public var framesIn: UInt64
    public var framesOut: UInt64
    public var bytesIn: UInt64
    public var bytesOut: UInt64
}

/// Sizes of the node's tables.
public struct TableSizes: Sendable {
    /// (key, node) pairs in the directory.
    public var entries: Int
    public var directoryBytes: Int
    public var patterns: Int
    public var members: Int
    public var links: Int
    public init(entries: Int, directoryBytes: Int, patterns: Int, members: Int, links: Int) {
        self.entries = entries
        self.directoryBytes = directoryBytes
        self.patterns = patterns
        self.members = members
        self.links = links
    }
}
