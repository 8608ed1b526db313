/// The open accusations, in the order in which they were made, each found by its subject: a flood of false
/// members makes hundreds.
struct Accusations: RandomAccessCollection {
    private var list: [Accusation] = []
    private var places: [MemberIndex: Int] = [:]

    var startIndex: Int { 0 }
    var endIndex: Int { list.count }

    subscript(place: Int) -> Accusation {
        _read { yield list[place] }
        _modify { yield &list[place] }
    }

    func place(of subject: MemberIndex) -> Int? { list.isEmpty ? nil : places[subject] }

    func contains(_ subject: MemberIndex) -> Bool { place(of: subject) != nil }

    mutating func append(_ accusation: Accusation) {
        places[accusation.subject] = list.count
        list.append(accusation)
    }

    mutating func remove(_ subject: MemberIndex) {
        guard !list.isEmpty, let place = places.removeValue(forKey: subject) else { return }
        list.remove(at: place)
        for later in place..<list.count { places[list[later].subject] = later }
    }
}
