import MeshWire

// Pushes about rosters, for clients that read RESP.

/// The word that says what a push about a roster has.
enum RosterState {
    case all, more, change, count

    fileprivate var word: StaticString {
        switch self {
        case .all: "all"
        case .more: "more"
        case .change: "change"
        case .count: "count"
        }
    }
}

extension RosterPass {
    enum Part {
        case all, change, count
    }

    /// The most members in one push.
    static let pieceMax = 512

    /// The part of this pass for a watcher that has been told so much; nil: it has none.
    func part(for stage: RosterWatcher.Stage, wantsCounts: Bool) -> Part? {
        if wantsCounts {
            return stage == .nothing && mayBegin || stage != .nothing && tellsCounts ? .count : nil
        }
        if isCounting {
            return stage == .nothing && mayBegin || stage != .nothing && tellsCountsToAll
                ? .count : nil
        }
        if stage == .all(era: era) { return tellsChanges ? .change : nil }
        return tellsAll ? .all : nil
    }

    /// Spells a part in one protocol. False: it is there.
    mutating func make(_ part: Part, of room: [UInt8], isRESP3: Bool) -> Bool {
        let frame = self[keyPath: Self.path(part)]
        guard (isRESP3 ? frame.resp3 : frame.resp2) == nil else { return false }
        var bytes = ByteQueue()
        switch part {
        case .count: bytes.appendRoster(room, .count, count, [], [], isRESP3: isRESP3)
        case .all:
            var start = 0
            repeat {
                let end = min(members.count, start + Self.pieceMax)
                let state: RosterState = end < members.count ? .more : .all
                bytes.appendRoster(
                    room, state, count, members[start..<end], [], isRESP3: isRESP3)
                start = end
            } while start < members.count
        case .change:
            bytes.appendRoster(room, .change, count, joined[...], gone, isRESP3: isRESP3)
        }
        if isRESP3 {
            self[keyPath: Self.path(part)].resp3 = bytes.array
        } else {
            self[keyPath: Self.path(part)].resp2 = bytes.array
        }
        return true
    }

    func frame(_ part: Part, isRESP3: Bool) -> [UInt8] {
        let frame = self[keyPath: Self.path(part)]
        return (isRESP3 ? frame.resp3 : frame.resp2) ?? []
    }

    /// Of a turn's work, to spell a part.
    func cost(of part: Part) -> Int {
        switch part {
        case .all: members.count * 8
        case .change: (joined.count + gone.count) * 8
        case .count: 8
        }
    }

    private static func path(_ part: Part) -> WritableKeyPath<RosterPass, Frame> {
        switch part {
        case .all: \.all
        case .change: \.change
        case .count: \.counted
        }
    }
}

extension ByteQueue {
    /// `roster`, the room, the state, the number of members, those that have come, those that have gone.
    fileprivate mutating func appendRoster(
        _ room: [UInt8], _ state: RosterState, _ count: Int,
        _ joined: ArraySlice<RosterView.Shown>, _ gone: [RosterView.Pending], isRESP3: Bool
    ) {
        appendPush(6, isRESP3: isRESP3)
        append("$6\r\nroster\r\n")
        appendBulk(room)
        appendBulk(state.word)
        appendInteger(count)
        appendArray(joined.count)
        for member in joined {
            appendArray(3)
            appendBulk(member.user)
            appendBulk(member.id.text)
            if let metadata = member.metadata {
                appendBulk(metadata)
            } else {
                appendNull(isRESP3: isRESP3)
            }
        }
        appendArray(gone.count)
        for member in gone {
            appendArray(3)
            appendBulk(member.user)
            appendBulk(member.id.text)
            appendBulk(member.reason.word)
        }
    }
}
