/// Arithmetic that the pure modules have no library for, the same to the last bit on every machine.

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

/// The logarithm to base 2 of x > 0: the exponent, and an atanh series of the significand.
func log2(_ x: Double) -> Double {
    precondition(x > 0)
    let significand = x.significand
    let z = (significand - 1) / (significand + 1)
    let square = z * z
    var term = z
    var sum = 0.0
    for odd in stride(from: 1.0, through: 41, by: 2) {
        sum += term / odd
        term *= square
    }
    return Double(x.exponent) + 2 * sum * 1.4426950408889634
}

/// 2^x by the whole part and a Taylor series of the rest.
func exp2(_ x: Double) -> Double {
    if x < -1000 { return 0 }
    let whole = x.rounded(.down)
    let fraction = (x - whole) * 0.6931471805599453
    var term = 1.0
    var sum = 1.0
    for index in 1...20 {
        term *= fraction / Double(index)
        sum += term
    }
    return Double(sign: .plus, exponent: Int(whole), significand: sum)
}

/// x^y for x > 0.
func power(_ x: Double, _ y: Double) -> Double { exp2(y * log2(x)) }

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
