import MeshWire

/// A node that may have missed what others were told compares with a neighbour, before it takes anything
/// more of its clients.
///
///     node ──compare(digests)──▶ neighbour
///     node ◀──what differs, compared── neighbour    then the logs are completed, by repair
///
/// Others do not wait for a node that is silent: a subscription may be confirmed that it has not heard of,
/// and a message of its clients would miss the subscriber. That ends when it compares with somebody who
/// has heard. A neighbour that is comparing itself says so, and another is asked.
struct CatchingUp {
    private(set) var began: Instant
    /// The neighbours that were asked, the last one last.
    private(set) var asked: [LinkIndex] = []
    /// Those of them that were comparing themselves.
    var behind: [LinkIndex] = []
    /// Told apart from answers to earlier comparisons by this.
    private(set) var number: UInt32
    /// The next neighbour is asked then, or the node goes on as it is.
    private(set) var due: Instant
    /// A neighbour has told all that differs.
    var isCompared = false
    /// Something has happened since by which the node may have missed more.
    var again: Cause?

    /// The reason why a node may have missed something.
    enum Cause: Comparable {
        /// A link has gone.
        case lostLink
        /// The node stood still, had no link, or has just joined.
        case wasAway
    }

    init(_ number: UInt32, at now: Instant) {
        began = now
        due = now
        self.number = number
    }

    /// A neighbour is asked, and has this long to answer.
    mutating func ask(_ link: LinkIndex, within time: Delay, at now: Instant) {
        asked.append(link)
        due = min(now + time, end)
    }

    /// So long after its begin the node goes on as it is: who hears nobody who knows is taken for silent
    /// by then.
    static let time = Delay.milliseconds(1_450)
    var end: Instant { began + Self.time }

    mutating func waitToTheEnd() { due = end }
}

extension Node {
    /// This node compares with a neighbour, for it may have missed what others know: its driver takes no
    /// commands of clients meanwhile. At most 1.45 s.
    public var isBehind: Bool { isReady && directory.catchingUp != nil }

    /// A node whose deadlines are later than this stood still.
    private static var stallMin: Delay { .milliseconds(50) }

    /// The driver goes on, and has not done yet what has come meanwhile.
    mutating func notePause(_ effects: inout EffectBuffer) {
        guard isReady, let due = timers.earliest, now - due > Self.stallMin else { return }
        directory.asksNewLinksUntil = now + CatchingUp.time
        mayBeBehind(.wasAway, &effects)
    }

    /// Something has happened after which this node may lack what others know.
    mutating func mayBeBehind(_ cause: CatchingUp.Cause, _ effects: inout EffectBuffer) {
        if let catchingUp = directory.catchingUp {
            directory.catchingUp!.again = max(catchingUp.again ?? cause, cause)
            return
        }
        guard !departure.hasBegun else { return }
        if cause == .lostLink, now < directory.comparesAgainAt { return }
        directory.comparisonCount &+= 1
        directory.isUncompared = false
        directory.catchingUp = CatchingUp(directory.comparisonCount, at: now)
        askNext(&effects)
    }

    /// Asks the neighbour that was heard last, of those that have not been asked.
    private mutating func askNext(_ effects: inout EffectBuffer) {
        guard let catchingUp = directory.catchingUp else { return }
        let neighbours = links.established
            .filter { links[$0].isUsable && !catchingUp.asked.contains($0) }
        let preferred = directory.askedFirst
        directory.askedFirst = .none
        let link =
            neighbours.contains(preferred)
            ? preferred : neighbours.max { links[$0].heardAt < links[$1].heardAt }
        guard let link, now < catchingUp.end else {
            directory.isUncompared = true
            directory.catchingUp!.waitToTheEnd()
            timers.schedule(.catchingUp, at: directory.catchingUp!.due)
            let isAwaited = catchingUp.asked.contains {
                links[$0].isUsable && !catchingUp.behind.contains($0)
            }
            if isAwaited { return }
            // Nobody knows more, as far as this node can find out.
            directory.catchingUp!.isCompared = true
            checkCaughtUp(&effects)
            return
        }
        let roundTrip = links[link].roundTrips.smoothed ?? .milliseconds(100)
        directory.catchingUp!.ask(link, within: .milliseconds(50) + roundTrip * 2, at: now)
        timers.schedule(.catchingUp, at: directory.catchingUp!.due)
        let digests = (0..<members.digests.count).map { members.digests[$0] }
        send(.compare(number: catchingUp.number, digests), over: link, &effects)
    }

    /// Tells a neighbour at once all that differs, and whether that is to be relied on.
    mutating func receivedCompare(
        _ number: UInt32, _ digests: [UInt64], on link: LinkIndex, _ effects: inout EffectBuffer
    ) {
        guard let mask = differingParts(digests) else { return }
        if mask != 0 { sendDifferences(mask, over: link, &effects) }
        let isBehind = !isReady || directory.catchingUp != nil
        send(.compared(number: number, isBehind: isBehind), over: link, &effects)
    }

    mutating func receivedCompared(
        _ number: UInt32, isBehind: Bool, on link: LinkIndex, _ effects: inout EffectBuffer
    ) {
        guard let catchingUp = directory.catchingUp, catchingUp.number == number,
            catchingUp.asked.contains(link), !catchingUp.isCompared
        else { return }
        if isBehind {
            directory.catchingUp!.behind.append(link)
            let isLast = catchingUp.asked.last == link || directory.isUncompared
            if isLast { askNext(&effects) }
            return
        }
        directory.isUncompared = false
        directory.catchingUp!.isCompared = true
        directory.catchingUp!.waitToTheEnd()
        timers.schedule(.catchingUp, at: directory.catchingUp!.due)
        checkCaughtUp(&effects)
    }

    /// A link stands. A node that had none, or none to anybody who knew, was not waited for. One that stood still
    /// while others met asks them too: the neighbours that it has asked may have stood still with it, and
    /// know as little.
    mutating func foundLinkToAsk(_ link: LinkIndex, _ effects: inout EffectBuffer) {
        guard isReady else { return }
        if now < directory.asksNewLinksUntil {
            directory.askedFirst = link
            mayBeBehind(.wasAway, &effects)
        } else if links.established.count == 1 || directory.isUncompared {
            mayBeBehind(.wasAway, &effects)
        }
    }

    /// A link has gone, and with it perhaps the answer.
    mutating func lostLinkToAsk(_ link: LinkIndex, _ effects: inout EffectBuffer) {
        let isAsked = directory.catchingUp?.asked.last == link
        if isReady { mayBeBehind(.lostLink, &effects) }
        if isAsked, directory.catchingUp?.isCompared == false { askNext(&effects) }
    }

    /// The neighbour that was asked has not answered, or what lacks has not come.
    mutating func catchUpLater(_ effects: inout EffectBuffer) {
        guard let catchingUp = directory.catchingUp else { return }
        if catchingUp.due > now {
            timers.schedule(.catchingUp, at: catchingUp.due)
        } else if catchingUp.end > now {
            askNext(&effects)
        } else {
            endCatchingUp(&effects)
        }
    }

    /// Every log is complete when all that the neighbour knew is known here.
    mutating func checkCaughtUp(_ effects: inout EffectBuffer) {
        guard let catchingUp = directory.catchingUp, catchingUp.isCompared else { return }
        if catchingUp.end > now {
            for entry in members.ring where entry.index != .oneself {
                if !members.isLogComplete(of: entry.index), !isWithdrawn(entry.index) {
                    timers.schedule(.catchingUp, at: catchingUp.due)
                    return
                }
            }
        }
        endCatchingUp(&effects)
    }

    private mutating func endCatchingUp(_ effects: inout EffectBuffer) {
        guard let ended = directory.catchingUp else { return }
        directory.catchingUp = nil
        timers[.catchingUp] = nil
        // In vain: where links come and go, clients are not to wait for ever.
        if ended.end <= now { directory.comparesAgainAt = now + CatchingUp.time }
        if let again = ended.again { mayBeBehind(again, &effects) }
        if directory.catchingUp == nil, !isReady { finishJoining(&effects) }
    }
}
