/// The subscriptions of one client: a list for each kind of topic, and its length.
struct SubscriptionLists {
    private struct List {
        var first = SubscriptionIndex.none
        var count: Int32 = 0
    }

    private var lists = InlineArray<8, List>(repeating: List())

    /// The latest subscription of this kind; none where there is none.
    subscript(first kind: TopicKind) -> SubscriptionIndex {
        @inline(__always) get { lists[kind.place].first }
        @inline(__always) set { lists[kind.place].first = newValue }
    }

    subscript(count kind: TopicKind) -> Int32 {
        @inline(__always) get { lists[kind.place].count }
        @inline(__always) set { lists[kind.place].count = newValue }
    }

    /// The subscriptions that keep a RESP2 client in the subscribed state.
    var redisCount: Int {
        Int(self[count: .channel]) + Int(self[count: .pattern]) + Int(self[count: .shardChannel])
    }

    var isEmpty: Bool {
        for kind in TopicKind.allCases where self[count: kind] > 0 { return false }
        return true
    }
}
