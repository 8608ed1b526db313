import MeshCore
import MeshWire

/// The traffic between the nodes of a world: bytes by what they were for, how each change of
/// the directory spread, and every copy of a channel's message.
///
/// It looks at frames from outside, as a tap on every line would; the nodes know nothing of it.
struct TrafficCount {
    /// The purpose of a frame.
    enum Purpose: Int, CaseIterable {
        /// Heartbeats, eight bytes of digest in each.
        case heartbeats
        /// Greetings, refusals, good-byes, news of members.
        case membership
        /// Link lists, roles and coordinates.
        case links
        /// Changes of the directory on their way to all nodes.
        case changes
        /// Digests of parts and lists of origins: finding what differs.
        case comparison
        /// Requests for repair and what answers them.
        case repair
        /// Clients' messages.
        case messages
        /// Acknowledgements that travel by themselves.
        case acknowledgements
        /// Control messages that are routed: accusations, questions, answers.
        case control

        var name: String { "\(self)" }
    }

    /// Bytes and frames sent, by purpose.
    private(set) var bytes = InlineArray<9, Int>(repeating: 0)
    private(set) var frames = InlineArray<9, Int>(repeating: 0)

    // MARK: Changes of the directory

    /// When each host changed its own entries: the change numbered s is at s − 1.
    private var changesOf: [[Instant]] = []
    /// Changes come to other nodes, by the time that took; the last place is for all above.
    private(set) var arrivals = [Int](repeating: 0, count: 100_001)
    /// Width of one place of `arrivals`.
    static let resolution = Delay.microseconds(100)
    /// Changes that came to a node that had them, or had no use for them yet.
    private(set) var changesSpare = 0
    private(set) var changesLive = 0
    /// Entries that came by repair: changes, and keys of whole sets.
    private(set) var changesRepaired = 0

    // MARK: Copies of messages

    /// One message to a channel over one link.
    struct Copy: BitwiseCopyable {
        var message: UInt32
        var from: Int32
        var to: Int32
    }
    private(set) var copies: [Copy] = []
    /// At most so many are kept; later messages are not in the figures.
    var copyCountMax = 4_000_000

    mutating func addHost() { changesOf.append([]) }

    mutating func changed(_ host: Int, at now: Instant) { changesOf[host].append(now) }

    /// A frame leaves a host.
    mutating func sent(_ parcel: Parcel, from host: Int, to other: Int) {
        let purpose = Self.purpose(of: parcel)
        bytes[purpose.rawValue] += Int(parcel.count)
        frames[purpose.rawValue] += 1
        guard copies.count < copyCountMax, purpose == .messages,
            parcel.withSpan({ $0[7] }) != RoutedBody.user.rawValue,
            let message = Tracer.messageNumber(parcel, at: 0)
        else { return }
        copies.append(Copy(message: message, from: Int32(host), to: Int32(other)))
    }

    private static func purpose(of parcel: Parcel) -> Purpose {
        switch FrameKind(rawValue: parcel.withSpan { $0[4] }) {
        case .arc: return .changes
        case .routed:
            guard parcel.withSpan({ $0[7] }) == RoutedBody.control.rawValue else {
                return .messages
            }
            return isAcknowledgement(parcel) ? .acknowledgements : .control
        case .link, nil: break
        }
        switch Message.Number(rawValue: parcel.withSpan { $0[Frame.prefixSize] }) {
        case .heartbeat: return .heartbeats
        case .linkLists, .linkChanges, .linksWanted, .role, .coordinates: return .links
        case .digests, .logSummaries, .origins, .compare, .compared: return .comparison
        case .repair, .records, .snapshot, .cannotRepair: return .repair
        case .recordsKnown: return .changes
        default: return .membership
        }
    }

    /// Whether a routed control message tells how far a flow has come, or is to be skipped.
    private static func isAcknowledgement(_ parcel: Parcel) -> Bool {
        parcel.withSpan { span in
            var needed = 0
            guard let prefix = try? FramePrefix.read(span, at: 0, needed: &needed),
                let header = try? RoutedHeader.read(span, at: 0, prefix),
                header.payloadOffset < prefix.length
            else { return false }
            let number = span[header.payloadOffset]
            return number == Message.Number.acknowledge.rawValue
                || number == Message.Number.skip.rawValue
        }
    }

    // MARK: Changes arrive

    /// Whether what a frame carries are changes of the directory, or a whole set of one origin.
    @inline(__always)
    static func carriesChanges(_ parcel: Parcel, at start: Int, _ prefix: FramePrefix) -> Bool {
        let offset: Int
        switch prefix.kind {
        case .arc: offset = Frame.arcHeaderSize
        case .routed: return false
        case .link: offset = Frame.prefixSize
        }
        let number = parcel.withSpan { $0[start + offset] }
        return number == Message.Number.records.rawValue
            || number == Message.Number.snapshot.rawValue
    }

    /// The changes that such a frame carries.
    struct Changes {
        var origin: NodeID
        /// They answer a request for repair.
        var isRepair: Bool
        /// A whole set, not numbered changes.
        var isWhole: Bool
        /// The numbers of the changes.
        var sequences: Range<Int>

        init?(_ parcel: Parcel, at start: Int, _ prefix: FramePrefix) {
            let offset = start + (prefix.kind == .arc ? Frame.arcHeaderSize : Frame.prefixSize)
            let message = parcel.withSpan {
                try? Message.decode($0, from: offset, to: start + prefix.length)
            }
            switch message {
            case .snapshot(let part):
                (origin, isRepair, isWhole, sequences) = (part.origin, true, true, 0..<0)
            case .records(let records):
                let first = Int(truncatingIfNeeded: records.firstSequence)
                (origin, isRepair, isWhole) = (records.origin, records.isRepair, false)
                sequences = first..<(first + records.records.count)
            default: return nil
            }
        }
    }

    /// When the first of those changes was made that were news; nil: a whole set.
    func made(_ changes: Changes, _ applied: Int, by origin: Int) -> Instant? {
        guard !changes.isWhole, let first = changes.sequences.suffix(applied).first,
            first > 0, first <= changesOf[origin].count
        else { return nil }
        return changesOf[origin][first - 1]
    }

    /// A host has taken changes of `origin`, and so many of them were news to it.
    mutating func received(
        _ changes: Changes, from origin: Int?, applied: Int, at now: Instant
    ) {
        if changes.isRepair { changesRepaired += applied } else { changesLive += applied }
        if changes.isWhole { return }
        changesSpare += changes.sequences.count - applied
        guard let origin else { return }
        // The changes that it had already are at the front.
        for sequence in changes.sequences.suffix(applied)
        where sequence <= changesOf[origin].count {
            let took = now - changesOf[origin][sequence - 1]
            let step = took.nanoseconds / Self.resolution.nanoseconds
            arrivals[min(Int(step), arrivals.count - 1)] += 1
        }
    }
}

// MARK: What it comes to

extension TrafficCount {
    /// Bytes sent for one purpose.
    func sum(_ purposes: Purpose...) -> Int { purposes.reduce(0) { $0 + bytes[$1.rawValue] } }

    func frameCount(_ purpose: Purpose) -> Int { frames[purpose.rawValue] }

    /// Milliseconds from a change to each other node's having it.
    var spread: Distribution {
        Distribution(histogram: arrivals).scaled(
            by: Double(Self.resolution.nanoseconds) / 1e6)
    }

    /// How messages to channels spread.
    struct Channels {
        /// Copies sent, each over one link.
        var transmissions = 0
        /// The same without those over a link that had carried that message.
        var links = 0
        /// Nodes that a copy came to, for itself or to be passed on: the edges of a tree.
        var nodes = 0
    }

    /// Sorts every copy by its message: O(n log n), for the end of a run.
    var channels: Channels {
        var channels = Channels()
        channels.transmissions = copies.count
        let byLink = copies.sorted {
            ($0.message, $0.to, $0.from) < ($1.message, $1.to, $1.from)
        }
        for (position, copy) in byLink.enumerated() {
            let before = position == 0 ? nil : byLink[position - 1]
            let isNode = before?.message != copy.message || before?.to != copy.to
            if isNode { channels.nodes += 1 }
            if isNode || before?.from != copy.from { channels.links += 1 }
        }
        return channels
    }
}
