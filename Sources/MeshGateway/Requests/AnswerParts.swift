/// The parts of one answer, put back into their order: large ones travel more slowly than small ones.
struct AnswerParts {
    enum Arrival: Equatable {
        case part([UInt8])
        case end(RequestOutcome)
    }

    /// Those that have been handed on.
    private(set) var count: UInt32 = 0
    private var early: [UInt32: Arrival] = [:]
    private(set) var byteCount = 0

    /// The most bytes that wait for one before them, or that the asker has not read.
    static let bytesMax = 8 * 1024 * 1024
    private static let earlyMax = 4_096

    /// A part, or the end, has come, before which there are so many parts.
    ///
    /// - Returns: those whose turn it is; nil: too much waits.
    mutating func take(_ arrival: Arrival, place: UInt32) -> [Arrival]? {
        guard place >= count, early[place] == nil else { return [] }
        if place > count {
            byteCount += arrival.size
            guard byteCount <= Self.bytesMax, early.count < Self.earlyMax else { return nil }
            early[place] = arrival
            return []
        }
        var due = [arrival]
        count += 1
        while let next = early.removeValue(forKey: count) {
            byteCount -= next.size
            due.append(next)
            count += 1
        }
        return due
    }
}

extension AnswerParts.Arrival {
    fileprivate var size: Int {
        switch self {
        case .part(let payload): payload.count
        case .end(let outcome): outcome.payload.count
        }
    }
}
