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

    public init(_ values: [Double]) {
        guard !values.isEmpty else { return }
        let sorted = values.sorted()
        count = sorted.count
        mean = sorted.reduce(0, +) / Double(count)
        p50 = sorted[(count - 1) / 2]
        p99 = sorted[Swift.min(count - 1, count * 99 / 100)]
        max = sorted[count - 1]
    }

    /// Of a histogram: `counts[value]` is how often.
    public init(histogram counts: [Int]) {
        count = counts.reduce(0, +)
        guard count > 0 else { return }
        var sum = 0
        var seen = 0
        for (value, times) in counts.enumerated() where times > 0 {
            sum += value * times
            if seen <= (count - 1) / 2 { p50 = Double(value) }
            if seen <= Swift.min(count - 1, count * 99 / 100) { p99 = Double(value) }
            seen += times
            max = Double(value)
        }
        mean = Double(sum) / Double(count)
    }
}
