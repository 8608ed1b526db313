import MeshCore

/// The network between the nodes: how long bytes take, and where they do not get through.
public struct Network: Sendable {
    /// One way, without jitter, where no pair of zones says otherwise.
    public var latency = Delay.microseconds(200)
    /// Up to this much more, uniformly.
    public var jitter = Delay.microseconds(100)
    /// How long an attempt to connect to a silent address takes to fail; as on Linux.
    public var connectTimeout = Delay.seconds(127)
    /// The most that a node can send, in bytes a second; nil: as much as it likes.
    public var bytesPerSecond: Int64?
    /// One-way latency by zone of the sender × zone of the receiver; nil: `latency`.
    private var zoneLatency: [Delay?] = []
    private var zoneCount = 0

    /// Hosts of different groups cannot hear each other.
    private var groups: [Int32] = []
    private var zones: [Int32] = []
    private var isolated: [Bool] = []
    /// The delay that a slow node adds to everything that it sends.
    private var slowness: [Delay] = []
    /// One-way cuts, by (from, to). Only ever asked, never walked: no order comes of it.
    private var cuts: Set<UInt64> = []
    /// How many of them begin at each host: most hosts have none, and no set is asked about them.
    private var cutsFrom: [Int32] = []
    private(set) var isParted = false
    private var isolatedCount = 0
    /// Firewalls that refuse new connections, by (from, to). Only ever asked, never walked.
    private var rejections: Set<UInt64> = []
    /// Hosts whose addresses refuse everybody.
    private var refusing: Set<Int> = []
    /// The largest packets that pass, between two hosts and to and from one. Only ever asked, never walked.
    private var narrowPairs: [UInt64: Int] = [:]
    private var narrowHosts: [Int: Int] = [:]

    public init() {}

    // MARK: Shape

    mutating func addHost(zone: Int) {
        groups.append(0)
        if groups[0] != 0 { isParted = true }
        zones.append(Int32(zone))
        isolated.append(false)
        cutsFrom.append(0)
        slowness.append(.zero)
    }

    /// Latency within and between zones, `count` of them.
    mutating func setZones(count: Int, _ latency: (Int, Int) -> Delay?) {
        zoneCount = count
        zoneLatency = (0..<count * count).map { latency($0 / count, $0 % count) }
    }

    func zone(of host: Int) -> Int { Int(zones[host]) }

    /// One way, from one host to another, without jitter.
    @inline(__always)
    func latency(from: Int, to: Int) -> Delay {
        let base =
            zoneCount == 0
            ? latency : zoneLatency[Int(zones[from]) * zoneCount + Int(zones[to])] ?? latency
        return base + slowness[from]
    }

    // MARK: Faults

    /// Splits the network: hosts hear only those of their own group.
    mutating func part(_ group: (Int) -> Int) {
        for host in groups.indices { groups[host] = Int32(group(host)) }
        isParted = groups.contains { $0 != groups[0] }
    }

    mutating func heal() {
        part { _ in 0 }
        cuts.removeAll()
        for host in cutsFrom.indices { cutsFrom[host] = 0 }
    }

    mutating func cut(from: Int, to: Int) {
        if cuts.insert(Self.pair(from, to)).inserted { cutsFrom[from] += 1 }
    }
    mutating func mend(from: Int, to: Int) {
        if cuts.remove(Self.pair(from, to)) != nil { cutsFrom[from] -= 1 }
    }
    mutating func reject(from: Int, to: Int) { rejections.insert(Self.pair(from, to)) }
    mutating func admit(from: Int, to: Int) { rejections.remove(Self.pair(from, to)) }
    mutating func refuse(to host: Int, _ isRefusing: Bool) {
        if isRefusing { refusing.insert(host) } else { refusing.remove(host) }
    }
    mutating func narrow(_ one: Int, _ other: Int, to bytes: Int?) {
        narrowPairs[Self.pair(min(one, other), max(one, other))] = bytes
    }
    mutating func narrow(_ host: Int, to bytes: Int?) { narrowHosts[host] = bytes }

    /// Some path drops large packets.
    var hasHoles: Bool { !narrowPairs.isEmpty || !narrowHosts.isEmpty }

    /// The largest packets that pass between two hosts, either way.
    func passes(from one: Int, to other: Int) -> Int {
        min(
            narrowPairs[Self.pair(min(one, other), max(one, other))] ?? .max,
            narrowHosts[one] ?? .max, narrowHosts[other] ?? .max)
    }

    mutating func isolate(_ host: Int) {
        isolated[host] = true
        isolatedCount += 1
    }
    mutating func slow(_ host: Int, by delay: Delay) { slowness[host] = delay }
    mutating func setGroup(of host: Int, like other: Int) {
        groups[host] = groups[other]
        isParted = isParted || groups.contains { $0 != groups[0] }
    }

    private static func pair(_ from: Int, _ to: Int) -> UInt64 {
        UInt64(UInt32(from)) << 32 | UInt64(UInt32(to))
    }

    func group(of host: Int) -> Int { Int(groups[host]) }
    func isIsolated(_ host: Int) -> Bool { isolated[host] }
    var cutCount: Int { cuts.count }

    /// Something may be blocked somewhere; false nearly always, and known without looking at hosts.
    @inline(__always)
    var mayBlock: Bool { isParted || isolatedCount > 0 || !cuts.isEmpty || hasHoles }

    /// A new connection from one host to the other is refused.
    func isRejected(from: Int, to: Int) -> Bool {
        refusing.contains(to) || rejections.contains(Self.pair(from, to))
    }

    /// Nothing gets from one host to the other now.
    @inline(__always)
    func isBlocked(from: Int, to: Int) -> Bool {
        groups[from] != groups[to] || isolated[from] || isolated[to]
            || cutsFrom[from] > 0 && cuts.contains(Self.pair(from, to))
    }
}
