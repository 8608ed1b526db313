import MeshWire

/// The users that somebody on this node watches. Watching costs no traffic: first arrivals and last
/// departures are seen in the table (<doc:Directory>).
struct WatchedKeys {
    struct State {
        var isOnline: Bool
        /// The last session is gone; announced then, unless one returns.
        var absentDue: Instant?
        var absence = Absence.quit
    }
    private var states: [Key: State] = [:]
    /// Absences that wait, in the order of their times.
    private var absences = FIFO<(key: Key, due: Instant)>()
    /// Keys of which every change of their holders is told, and by how many they are followed.
    private var followed: [Key: Int] = [:]

    var isEmpty: Bool { states.isEmpty }

    mutating func add(_ key: Key, isOnline: Bool) {
        states[key] = State(isOnline: isOnline)
    }

    mutating func remove(_ key: Key) {
        states[key] = nil
    }

    mutating func follow(_ key: Key, _ change: DirectoryChange) {
        let count = (followed[key] ?? 0) + (change == .add ? 1 : -1)
        followed[key] = count > 0 ? count : nil
    }

    func follows(_ key: Key) -> Bool { !followed.isEmpty && followed[key] != nil }

    /// The first session came. Returns whether that is news.
    mutating func arrived(_ key: Key) -> Bool {
        guard let state = states[key] else { return false }
        states[key] = State(isOnline: true)
        return !state.isOnline
    }

    /// The last session went. Returns when the absence is to be announced; nil: nobody watches.
    mutating func departed(_ key: Key, _ absence: Absence, due: Instant) -> Instant? {
        guard let state = states[key], state.isOnline else { return nil }
        states[key] = State(isOnline: true, absentDue: due, absence: absence)
        absences.append((key, due))
        return due
    }

    /// When the first absence that waits is to be announced; nil: none does. Looks at all, for checks.
    var earliestAbsence: Instant? { states.values.compactMap(\.absentDue).min() }

    /// The keys whose grace is over, and when the next one's is.
    mutating func takeAbsent(at now: Instant) -> (absent: [(Key, Absence)], next: Instant?) {
        var absent: [(Key, Absence)] = []
        while let first = absences.first, first.due <= now {
            _ = absences.popFirst()
            // Somebody returned, or left again later, or nobody watches any more.
            guard let state = states[first.key], state.absentDue == first.due else { continue }
            states[first.key] = State(isOnline: false)
            absent.append((first.key, state.absence))
        }
        return (absent, absences.first?.due)
    }
}

extension Node {
    mutating func watch(_ key: Key, _ change: DirectoryChange) {
        switch change {
        case .add: directory.watched.add(key, isOnline: hasHolder(key))
        case .remove, .lose, .kick: directory.watched.remove(key)
        }
    }

    mutating func announceAbsences(_ effects: inout EffectBuffer) {
        let (absent, next) = directory.watched.takeAbsent(at: now)
        for (key, absence) in absent { effects.append(.presence(key, .offline(absence))) }
        if let next { timers.schedule(.presence, at: next) }
    }

    mutating func arrived(_ key: Key, _ effects: inout EffectBuffer) {
        if !directory.watched.isEmpty, directory.watched.arrived(key) {
            effects.append(.presence(key, .online))
        }
        if parked.expectsAnybody { parked.forget(key) }
        if !parked.isEmpty { sendParked(key, &effects) }
    }

    mutating func departed(
        _ key: Key, _ absence: Absence, _ effects: inout EffectBuffer
    ) {
        guard !directory.watched.isEmpty,
            let due = directory.watched.departed(
                key, absence, due: now + configuration.timing.presenceGrace)
        else { return }
        timers.schedule(.presence, at: due)
    }
}
