import MeshWire

/// Agreement on refusals: whether all who could contradict say the same (`Accusation`).
extension Node {
    /// Everybody who could contradict says that the address refuses, or is of a group that refuses this
    /// node and of which everybody outside says so.
    func isAgreed(_ place: Int) -> Bool {
        var group = [place]
        var isMember = [Bool](repeating: false, count: suspicions.accusations.count)
        isMember[place] = true
        var next = 0
        while next < group.count {
            let accusation = suspicions.accusations[group[next]]
            for witness in silentWitnesses(of: accusation) {
                if let place = refusalPlace(of: witness) {
                    if !isMember[place] { group.append(place) }
                    isMember[place] = true
                } else if next == 0 || isAwaited(witness, on: accusation) {
                    return false
                }
            }
            next += 1
        }
        return true
    }

    /// The subjects of all refusals on which everybody agrees. One walk finds them, however many they are and
    /// whoever waits for whom: a doubt goes back to all whose group it is in.
    func agreedRefusals() -> Set<MemberIndex> {
        let count = suspicions.accusations.count
        var isContradicted = [Bool](repeating: true, count: count)
        var waiting = [[Int]](repeating: [], count: count)
        var doubtful: [Int] = []
        for place in 0..<count where isRefusal(place) {
            isContradicted[place] = false
            var isDoubtful = false
            let accusation = suspicions.accusations[place]
            for witness in silentWitnesses(of: accusation) {
                if let other = refusalPlace(of: witness) {
                    waiting[other].append(place)
                } else {
                    isContradicted[place] = true
                    isDoubtful = isDoubtful || isAwaited(witness, on: accusation)
                }
            }
            if isDoubtful { doubtful.append(place) }
        }
        var isReached = [Bool](repeating: false, count: count)
        while let place = doubtful.popLast() {
            if isReached[place] { continue }
            isReached[place] = true
            doubtful += waiting[place]
        }
        var agreed: Set<MemberIndex> = []
        for place in 0..<count where !isContradicted[place] && !isReached[place] {
            agreed.insert(suspicions.accusations[place].subject)
        }
        return agreed
    }

    /// Of a witness that is gone itself, as it seems, this node need not hear all who could contradict. Where
    /// many crash at once each has had watchers that have crashed, and these others in turn, through the
    /// mesh: three that say so are enough, once the others have had the time to answer.
    private func isAwaited(_ witness: NodeID, on accusation: Accusation) -> Bool {
        if !isWordEnough(accusation) || accusation.word(of: witness) != nil { return true }
        guard let index = members.index(of: witness) else { return false }
        if hears(index) { return true }
        guard let place = suspicions.accusations.place(of: index) else { return false }
        return suspicions.accusations[place].isVouched
    }

    func isWordEnough(_ accusation: Accusation) -> Bool {
        accusation.isFirstLookOver && accusation.accusers.count >= Self.accuserCountNeeded
    }

    /// An accusation because the address refuses, and nobody vouches.
    private func isRefusal(_ place: Int) -> Bool {
        suspicions.accusations[place].evidence == .refused
            && !suspicions.accusations[place].isVouched
    }

    /// The place of the accusation of a node whose address refuses this one, and for which nobody vouches.
    func refusalPlace(of node: NodeID) -> Int? {
        guard !suspicions.accusations.isEmpty, let index = members.index(of: node),
            let place = suspicions.accusations.place(of: index), isRefusal(place)
        else { return nil }
        return place
    }

    /// Those who could contradict and have not said that the address refuses: other watchers, and members
    /// that were asked in their place.
    func silentWitnesses(of accusation: Accusation) -> [NodeID] {
        var witnesses = watchers(of: accusation.subject)
        for prober in accusation.probers where isWitness(prober) && !witnesses.contains(prober) {
            witnesses.append(prober)
        }
        return witnesses.filter { accusation.word(of: $0) != .accuses(.refused) }
    }
}
