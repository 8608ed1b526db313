import MeshCore
import MeshWire

/// The place of a client's watch of a roster in `Rosters`; reused after it has ended.
struct WatcherIndex: TableIndex {
    var rawValue: Int32

    @inline(__always)
    init(rawValue: Int32) { self.rawValue = rawValue }
}

/// A client that watches the roster of a room.
struct RosterWatcher {
    /// The things that it has been told.
    enum Stage: Equatable {
        case nothing
        case count
        /// All members, and the changes since, as long as the view is in this era.
        case all(era: UInt32)
    }

    var client = ClientIndex.none
    /// The slot of its view.
    var view = 0
    /// Its place among the view's.
    var place = 0
    /// It wants the number of members alone.
    var wantsCounts = false
    var stage = Stage.nothing
    /// The last pass that it was seen to in.
    var pass: UInt32 = 0
}

/// The pushes of one pass over a view's watchers, made when the first one needs them.
struct RosterPass {
    /// A push in the words of both protocols.
    struct Frame {
        var resp2: [UInt8]?
        var resp3: [UInt8]?
    }

    var number: UInt32
    /// Watchers before this place are still to be seen to.
    var left: Int
    let era: UInt32
    let count: Int
    let isCounting: Bool
    /// Those that have been told nothing can be told now.
    let mayBegin: Bool
    /// All members are told to those that have not been told them in this era.
    let tellsAll: Bool
    let tellsChanges: Bool
    /// Counts are told to those that want no more, and to the others.
    let tellsCounts: Bool
    let tellsCountsToAll: Bool
    var all = Frame()
    var change = Frame()
    var counted = Frame()
    var members: [RosterView.Shown] = []
    var joined: [RosterView.Shown] = []
    var gone: [RosterView.Pending] = []
}

/// The watchers of one view, and when they are told next.
struct RosterWatchers {
    private(set) var places: [WatcherIndex] = []
    /// Those of them that want members, and not their number alone.
    var fullCount = 0
    var pass: RosterPass?
    private var passNumber: UInt32 = 0
    /// Changes are too many to be told one by one: numbers alone are, until there are fewer.
    private(set) var isStormy = false
    /// The members that watchers know are of use in the same era alone.
    private(set) var era: UInt32 = 0
    private var changedAt: Instant?
    private var countedAt: Instant?
    private var countedAllAt: Instant?
    private var toldCount = -1
    private var toldCountToAll = -1
    /// A watcher has come, or could not be told, and since when it waits.
    private var waitsSince: Instant?
    private var retryAt: Instant?

    static let interval = Delay.milliseconds(100)
    static let countInterval = Delay.seconds(1)
    /// Nodes that do not answer are waited for so long. A guess.
    static let patience = Delay.seconds(1)

    /// - Returns: its place.
    mutating func add(_ watcher: WatcherIndex) -> Int {
        places.append(watcher)
        return places.count - 1
    }

    /// - Returns: the watcher that has its place now; nil: none has.
    mutating func remove(at place: Int) -> WatcherIndex? {
        places.swapAt(place, places.count - 1)
        places.removeLast()
        return place < places.count ? places[place] : nil
    }

    /// Somebody waits to be told all.
    mutating func beginWait(at now: Instant) { waitsSince = min(waitsSince ?? now, now) }

    /// A client has much to read: it is looked at again later.
    mutating func retry(at now: Instant) { retryAt = now + Self.countInterval }

    /// All that watchers know of the members is worth nothing any more.
    mutating func endEra() { era &+= 1 }

    private func isDue(_ last: Instant?, _ interval: Delay, _ now: Instant) -> Bool {
        last.map { $0 + interval <= now } ?? true
    }

    /// Begins a pass, if there is something to be told now.
    mutating func begin(
        _ view: RosterView.State, calm: inout Int, at now: Instant
    ) -> Bool {
        guard pass == nil, !places.isEmpty else { return false }
        if view.hasStorm, !view.isCounting, !isStormy {
            isStormy = true
            endEra()
            countedAllAt = changedAt.map { $0 + Self.interval - Self.countInterval }
            toldCountToAll = -1
        }
        let mayCountAll = isDue(countedAllAt, Self.countInterval, now)
        if isStormy, mayCountAll, toldCountToAll >= 0, calm <= RosterView.pendingMax {
            isStormy = false
            beginWait(at: now)
        }
        if isStormy, mayCountAll, view.count == toldCountToAll {
            // As many as before, and other ones: there is nothing to be told, and a second more to wait.
            calm = 0
            countedAllAt = now
        }
        if let retryAt, retryAt <= now {
            self.retryAt = nil
            beginWait(at: now)
        }
        let isCounting = view.isCounting || isStormy
        let isLate = waitsSince.map { $0 + Self.patience <= now } ?? false
        let mayBegin = view.isSettled || isLate
        let mayChange = isDue(changedAt, Self.interval, now)
        let tellsChanges = !isCounting && view.hasPending && mayChange
        let mayTellAll = !isCounting && mayBegin && (!view.hasPending || mayChange)
        let tellsCounts = view.count != toldCount && isDue(countedAt, Self.interval, now)
        let tellsCountsToAll = isCounting && mayCountAll && view.count != toldCountToAll
        let waits = waitsSince != nil && (mayTellAll || isCounting && mayBegin)
        guard tellsChanges || tellsCounts || tellsCountsToAll || waits else { return false }
        passNumber &+= 1
        pass = RosterPass(
            number: passNumber, left: places.count, era: era, count: view.count,
            isCounting: isCounting, mayBegin: mayBegin, tellsAll: waits && mayTellAll,
            tellsChanges: tellsChanges, tellsCounts: tellsCounts,
            tellsCountsToAll: tellsCountsToAll)
        if tellsChanges { changedAt = now }
        if tellsCounts {
            toldCount = view.count
            countedAt = now
        }
        if tellsCountsToAll {
            toldCountToAll = view.count
            countedAllAt = now
            calm = 0
        }
        if waits { waitsSince = nil }
        return true
    }

    /// When a pass is due, nothing else happening; nil: none is.
    func next(
        _ view: RosterView.State, at now: Instant
    ) -> Instant? {
        if places.isEmpty { return nil }
        if pass != nil { return now }
        var next = retryAt
        func consider(_ instant: Instant) { next = min(next ?? instant, instant) }
        func after(_ last: Instant?, _ interval: Delay) -> Instant {
            max(now, last.map { $0 + interval } ?? now)
        }
        let isCounting = view.isCounting || isStormy
        if view.hasPending || view.hasStorm, !isCounting {
            consider(after(changedAt, Self.interval))
        }
        if view.count != toldCount { consider(after(countedAt, Self.interval)) }
        if isStormy || isCounting && view.count != toldCountToAll {
            consider(after(countedAllAt, Self.countInterval))
        }
        if let waitsSince {
            let due = waitsSince + Self.patience
            if !view.isSettled, due > now {
                consider(due)
            } else if isCounting || !view.hasPending {
                consider(now)
            }
        }
        return next
    }
}
