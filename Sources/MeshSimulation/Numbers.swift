/// A number for people and for JSON, rounded to so many places; no trailing zeros.
public func decimal(_ value: Double, places: Int = 3) -> String {
    guard value.isFinite else { return "0" }
    var scale: Int64 = 1
    for _ in 0..<places { scale *= 10 }
    let limit = 9.2e18 / Double(scale)
    guard value.magnitude < limit else { return value < 0 ? "-\(limit)" : "\(limit)" }
    let scaled = Int64((value.magnitude * Double(scale)).rounded())
    var text = (value < 0 && scaled != 0 ? "-" : "") + String(scaled / scale)
    var fraction = scaled % scale
    guard fraction != 0 else { return text }
    var digits = String(fraction + scale).dropFirst()
    fraction = 0
    while digits.last == "0" { digits = digits.dropLast() }
    text += "." + digits
    return text
}

/// What a set of figures comes to.
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
