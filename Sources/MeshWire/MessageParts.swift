extension Message {
    /// The most members, or logs, that one message lists: its count has 16 bits.
    public static let memberCountMax = 65_535
    /// The most link lists, changes or owners of such that one message lists.
    public static let linkListCountMax = 4_096
    /// The most numbers of messages that one message lists.
    public static let returnedCountMax = 1_024

    /// Messages that together say the same, with no list longer than a receiver takes; nil: this
    /// message is one of that kind itself, as nearly all are.
    public var parts: [Message]? {
        switch self {
        case .members(let records, let isRepair):
            cut(records, Self.memberCountMax) { .members($0, isRepair: isRepair) }
        case .statuses(let changes): cut(changes, Self.memberCountMax) { .statuses($0) }
        case .linkLists(let lists): cut(lists, Self.linkListCountMax) { .linkLists($0) }
        case .linkChanges(let changes): cut(changes, Self.linkListCountMax) { .linkChanges($0) }
        case .linksWanted(let owners): cut(owners, Self.linkListCountMax) { .linksWanted($0) }
        case .origins(let entries, let mask, let isReply):
            cut(entries, Self.memberCountMax) { .origins($0, mask: mask, isReply: isReply) }
        case .logSummaries(let summaries, let mask):
            cut(summaries, Self.memberCountMax) { .logSummaries($0, mask: mask) }
        case .repair(let requests): cut(requests, Self.memberCountMax) { .repair($0) }
        case .coordinates(let items):
            cut(items, MemberCoordinate.countMax) { .coordinates($0) }
        case .hello, .welcome, .refuse, .heartbeat, .role, .bye, .accuse, .vouch,
            .indirectProbe, .records, .digests, .snapshot, .cannotRepair, .recordsKnown, .compare,
            .compared,
            .query, .answer, .traceAnswer, .acknowledge, .skip, .wrongName, .nobody, .takenBack,
            .unsupported:
            nil
        }
    }

    private func cut<Item>(
        _ items: [Item], _ most: Int, _ message: ([Item]) -> Message
    ) -> [Message]? {
        if items.count <= most { return nil }
        return stride(from: 0, to: items.count, by: most).map { start in
            message(Array(items[start..<min(start + most, items.count)]))
        }
    }
}
