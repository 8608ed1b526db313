import MeshCore
import MeshWire

/// The members of a room here, as other nodes are told of them: in numbered batches of changes.
///
/// It is there while another node watches the room. What has changed since the last batch gathers in the open
/// one, which closes 10 ms after its first change, 100 ms after it when much changes, or when it is full.
struct RosterOwner {
    let room: [UInt8]
    /// Of the directory: the nodes that watch the room hold it.
    let watchKey: Key
    let epoch: UInt32
    private(set) var version: UInt32 = 0
    /// Other nodes that watch the room, in order.
    private(set) var watchers: [NodeID] = []
    /// Nodes that have asked for the members, and whose watch may not be known here yet.
    private var askers: [(node: NodeID, until: Instant)] = []
    /// There are too many members to be told: batches have the count alone.
    var isCounted = false
    /// See `RosterTable`.
    var timer: RosterTimer?
    /// The bytes that it was last counted for in the node's memory.
    var charged = 0

    // The open batch.

    /// Nil: a join and a departure that have cancelled each other out.
    private var changes: [RosterChange?] = []
    private var places: [AttachmentID: Int] = [:]
    /// Those of them whose first change is that they have come.
    private var newcomers: Set<AttachmentID> = []
    private var bytes = 0
    /// When it closes; nil: there is none.
    private(set) var due: Instant?

    /// Changes of this second, of the one before, and when this one began.
    private var changeCount = 0
    private var formerCount = 0
    private var secondBegan: Instant

    static let batchDelay = Delay.milliseconds(10)
    static let busyDelay = Delay.milliseconds(100)
    /// Changes in a second beyond which batches wait for longer.
    static let busyCount = 256
    /// A node that has asked is told for so long, whatever the directory says.
    static let askerTime = Delay.seconds(5)
    static let askersMax = 1_024
    /// A batch that was not taken for a node is told again after this time. A guess.
    static let repeatDelay = Delay.seconds(1)

    init(room: [UInt8], watchKey: Key, epoch: UInt32, at now: Instant) {
        self.room = room
        self.watchKey = watchKey
        self.epoch = epoch
        secondBegan = now
    }

    /// The memory that it takes, in bytes.
    var cost: Int { 200 + room.count + bytes + places.count * 24 }

    /// Nobody is told anything any more.
    func isIdle(at now: Instant) -> Bool {
        watchers.isEmpty && !askers.contains { $0.until > now }
    }

    var isFull: Bool { bytes >= RosterMessage.bytesMax }

    /// When something is due; nil: nothing is.
    var next: Instant? {
        guard let until = askers.first?.until else { return due }
        return min(due ?? until, until)
    }

    /// The nodes that are told, in order.
    func told(at now: Instant) -> [NodeID] {
        let more = askers.filter { $0.until > now }.map(\.node)
        return more.isEmpty ? watchers : (watchers + more).sorted()
    }

    /// These nodes watch by the directory.
    ///
    /// - Returns: those of them that did not before.
    mutating func setWatchers(_ nodes: [NodeID]) -> [NodeID] {
        let former = Set(watchers)
        watchers = nodes
        let present = Set(nodes)
        askers.removeAll { present.contains($0.node) }
        return nodes.filter { !former.contains($0) }
    }

    mutating func note(asker node: NodeID, at now: Instant) {
        askers.removeAll { $0.until <= now || $0.node == node }
        if watchers.contains(node) { return }
        if askers.count < Self.askersMax { askers.append((node, now + Self.askerTime)) }
    }

    mutating func forgetAskers(at now: Instant) { askers.removeAll { $0.until <= now } }

    mutating func forget(_ node: NodeID) {
        watchers.removeAll { $0 == node }
        askers.removeAll { $0.node == node }
    }

    /// A batch closes at this time at the latest, though nothing may have changed.
    mutating func open(by time: Instant) { due = min(due ?? time, time) }

    mutating func note(_ change: RosterChange, isNew: Bool, at now: Instant) {
        if now - secondBegan >= .seconds(1) {
            formerCount = now - secondBegan < .seconds(2) ? changeCount : 0
            changeCount = 0
            secondBegan = now
        }
        changeCount += 1
        let isBusy = changeCount + formerCount > Self.busyCount
        open(by: now + (isBusy ? Self.busyDelay : Self.batchDelay))
        if isCounted { return }
        guard let place = places[change.id] else {
            places[change.id] = changes.count
            changes.append(change)
            bytes += change.size
            // Nobody has been told of one that has come in this batch.
            if change.reason == nil, isNew { newcomers.insert(change.id) }
            return
        }
        bytes += change.size - (changes[place]?.size ?? 0)
        changes[place] = change
        if change.reason != nil, newcomers.remove(change.id) != nil {
            bytes -= change.size
            changes[place] = nil
            places[change.id] = nil
        }
    }

    /// Closes the open batch; its version is the next one.
    mutating func close(count: Int) -> RosterMessage {
        version &+= 1
        defer { clear() }
        return .batch(header(count: count), isCounted ? [] : changes.compactMap { $0 })
    }

    /// A batch without changes and of no new version: a node that is not up to date notices.
    func beacon(count: Int) -> RosterMessage { .batch(header(count: count), []) }

    func header(count: Int) -> RosterHeader {
        RosterHeader(
            epoch: epoch, version: version, count: count, flags: isCounted ? .counted : [])
    }

    private mutating func clear() {
        changes.removeAll()
        places.removeAll()
        newcomers.removeAll()
        bytes = 0
        due = nil
    }
}

/// When something is due for a roster that was not set for another time since.
struct RosterTimer: Comparable {
    var due: Instant
    var serial: UInt64
    var slot: Int
    var isView: Bool

    static func < (one: RosterTimer, other: RosterTimer) -> Bool {
        one.due < other.due || one.due == other.due && one.serial < other.serial
    }
}

/// Elements by room. Each has a slot as long as it is there, used again afterwards.
struct RosterTable<Element> {
    private var elements: [Element?] = []
    private var free: [Int] = []
    private var slotOfRoom: [[UInt8]: Int] = [:]

    var count: Int { slotOfRoom.count }
    var isEmpty: Bool { slotOfRoom.isEmpty }
    /// All slots, free ones too.
    var slots: Range<Int> { elements.indices }

    func slot(of room: [UInt8]) -> Int? { slotOfRoom[room] }

    subscript(slot: Int) -> Element? {
        @inline(__always) get { elements[slot] }
        @inline(__always) _modify { yield &elements[slot] }
    }

    mutating func insert(_ element: Element, of room: [UInt8]) -> Int {
        let slot = free.popLast() ?? elements.count
        if slot == elements.count { elements.append(nil) }
        elements[slot] = element
        slotOfRoom[room] = slot
        return slot
    }

    mutating func remove(_ room: [UInt8]) -> Element? {
        guard let slot = slotOfRoom.removeValue(forKey: room) else { return nil }
        free.append(slot)
        return elements[slot].take()
    }
}
