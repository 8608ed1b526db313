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
