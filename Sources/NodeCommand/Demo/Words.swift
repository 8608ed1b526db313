/// Numbers and lists as people write them.
enum Words {
    /// `12,345`
    static func count(_ number: Int) -> String {
        var digits = Array(String(number.magnitude))
        var place = digits.count - 3
        while place > 0 {
            digits.insert(",", at: place)
            place -= 3
        }
        return (number < 0 ? "-" : "") + String(digits)
    }

    /// `1 node`, `2 nodes`
    static func count(_ number: Int, _ noun: String) -> String {
        "\(count(number)) \(noun)\(number == 1 ? "" : "s")"
    }

    /// `1.50`, never negative.
    static func decimal(_ number: Double, digits: Int) -> String {
        var scale = 1
        for _ in 0..<digits { scale *= 10 }
        let whole = Int((max(number, 0) * Double(scale)).rounded())
        if digits == 0 { return String(whole) }
        let fraction = String(whole % scale)
        return
            "\(whole / scale).\(String(repeating: "0", count: digits - fraction.count))\(fraction)"
    }

    /// `4.1 s`
    static func seconds(_ duration: Duration, digits: Int = 1) -> String {
        decimal(duration.inSeconds, digits: digits) + " s"
    }

    /// `0.31 ms`, `163 ms`
    static func milliseconds(_ duration: Duration) -> String {
        let number = duration.inSeconds * 1_000
        return decimal(number, digits: number < 10 ? 2 : 0) + " ms"
    }

    /// `1:07`
    static func clock(_ duration: Duration) -> String {
        let seconds = Int(max(duration.inSeconds, 0))
        let rest = seconds % 60
        return "\(seconds / 60):\(rest < 10 ? "0" : "")\(rest)"
    }

    /// `ann, bob and cem`
    static func list(_ words: [String]) -> String {
        guard let last = words.last, words.count > 1 else { return words.first ?? "nobody" }
        return words.dropLast().joined(separator: ", ") + " and " + last
    }

    /// A stranger's text, safe to show: one line of characters that are one column wide.
    static func harmless(_ text: String, length: Int = 60) -> String {
        var result = String.UnicodeScalarView()
        for scalar in text.unicodeScalars.prefix(length) {
            switch scalar.value {
            case 0x20...0x7E, 0xA1...0xAC, 0xAE...0x2AF: result.append(scalar)
            default: result.append("?")
            }
        }
        return String(result) + (text.unicodeScalars.count > length ? "…" : "")
    }

    static func padded(_ text: String, to width: Int, right: Bool = false) -> String {
        let space = String(repeating: " ", count: max(0, width - text.count))
        return right ? space + text : text + space
    }
}
