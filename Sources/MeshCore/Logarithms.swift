// The pure modules import no C library, and a result that is the same on every machine matters more
// here than the last digit.

/// The logarithm to base 2 of x > 0: the exponent, and an atanh series of the significand.
public func log2(_ x: Double) -> Double {
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
public func exp2(_ x: Double) -> Double {
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
public func power(_ x: Double, _ y: Double) -> Double { exp2(y * log2(x)) }
