/// The summary of a set of figures.
public struct Distribution: Equatable, Sendable {
    public var count = 0
    public var mean = 0.0
    public var p50 = 0.0
    public var p99 = 0.0
    public var max = 0.0

    public init() {}

    /// - Parameter value: the value that so many others stand before, in ascending order.
    init(count: Int, mean: Double, max: Double, value: (_ rank: Int) -> Double) {
        self.count = count
        self.mean = mean
        self.max = max
        p50 = value((count - 1) / 2)
        p99 = value(Swift.min(count - 1, count * 99 / 100))
    }

    public init(_ values: [Double]) {
        guard !values.isEmpty else {
            self.init()
            return
        }
        let sorted = values.sorted()
        self.init(
            count: sorted.count, mean: sorted.reduce(0, +) / Double(sorted.count),
            max: sorted[sorted.count - 1]
        ) { sorted[$0] }
    }

    /// Of a histogram: `counts[value]` is how often.
    public init(histogram counts: [Int]) {
        let count = counts.reduce(0, +)
        guard count > 0 else {
            self.init()
            return
        }
        let sum = counts.enumerated().reduce(0) { $0 + $1.offset * $1.element }
        let most = counts.lastIndex { $0 > 0 }!
        self.init(count: count, mean: Double(sum) / Double(count), max: Double(most)) {
            Double(Self.bucket(ofRank: $0, counts))
        }
    }

    /// The place in a histogram of the value that so many others stand before, fewer than there are.
    static func bucket(ofRank rank: Int, _ counts: [Int]) -> Int {
        var before = 0
        return counts.firstIndex { times in
            before += times
            return before > rank
        }!
    }
}
