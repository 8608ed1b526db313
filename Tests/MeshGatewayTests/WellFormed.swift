/// Whether bytes are whole values of RESP2 and RESP3 and nothing else.
func isWellFormed(_ bytes: [UInt8]) -> Bool {
    var reader = ValueReader(bytes: bytes)
    while reader.at < bytes.count {
        guard reader.skipValue() else { return false }
    }
    return true
}

private struct ValueReader {
    let bytes: [UInt8]
    var at = 0

    /// False when there is no value, or not all of it.
    mutating func skipValue() -> Bool {
        guard let line = line(), let kind = line.first else { return false }
        let rest = line.dropFirst()
        switch kind {
        case UInt8(ascii: "+"), UInt8(ascii: "-"): return true
        case UInt8(ascii: ":"): return number(rest) != nil
        case UInt8(ascii: ","): return Double(String(decoding: rest, as: UTF8.self)) != nil
        case UInt8(ascii: "_"): return rest.isEmpty
        case UInt8(ascii: "#"): return rest.elementsEqual([0x74]) || rest.elementsEqual([0x66])
        case UInt8(ascii: "$"), UInt8(ascii: "="):
            guard let count = number(rest), count >= -1 else { return false }
            return count == -1 || skipBody(count)
        case UInt8(ascii: "*"), UInt8(ascii: ">"), UInt8(ascii: "~"):
            guard let count = number(rest), count >= -1 else { return false }
            return skipValues(count)
        case UInt8(ascii: "%"):
            guard let count = number(rest), count >= 0 else { return false }
            return skipValues(count * 2)
        default: return false
        }
    }

    private mutating func skipValues(_ count: Int) -> Bool {
        var missing = count
        while missing > 0 {
            guard skipValue() else { return false }
            missing -= 1
        }
        return true
    }

    private mutating func skipBody(_ count: Int) -> Bool {
        guard count <= bytes.count - at - 2, bytes[at + count] == 0x0D,
            bytes[at + count + 1] == 0x0A
        else { return false }
        at += count + 2
        return true
    }

    /// Up to CR LF, which `at` moves past; neither stands in a line.
    private mutating func line() -> ArraySlice<UInt8>? {
        guard let end = bytes[at...].firstIndex(of: 0x0D), end + 1 < bytes.count,
            bytes[end + 1] == 0x0A
        else { return nil }
        defer { at = end + 2 }
        let line = bytes[at..<end]
        return line.contains(0x0A) ? nil : line
    }

    private func number(_ digits: ArraySlice<UInt8>) -> Int? {
        Int(String(decoding: digits, as: UTF8.self))
    }
}
