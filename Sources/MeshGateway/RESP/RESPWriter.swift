import MeshWire

/// RESP frames at the back of a queue. RESP2 and RESP3 differ in a frame's first byte for what is
/// sent here most: `*` for an array, `>` for a push.
extension ByteQueue {
    /// `$123\r\n` and its like.
    @inline(__always)
    mutating func appendHeader(_ marker: UInt8, _ value: Int) {
        let header = HeaderWord(marker, value)
        guard header.isWhole else { return appendLongHeader(marker, value) }
        unsafe reserve(header.count, slack: HeaderWord.slack).storeBytes(
            of: header.bytes.littleEndian, as: UInt64.self)
    }

    @inline(never)
    private mutating func appendLongHeader(_ marker: UInt8, _ value: Int) {
        let digits = decimalCount(value)
        let size = digits + 3
        var target = unsafe reserve(size)
        unsafe target.storeBytes(of: marker, as: UInt8.self)
        unsafe target += 1
        unsafe writeDecimal(value, digits, to: target)
        unsafe target += digits
        unsafe target.storeBytes(of: UInt16(littleEndian: 0x0A0D), as: UInt16.self)
    }

    mutating func appendInteger(_ value: Int) { appendHeader(UInt8(ascii: ":"), value) }

    mutating func appendArray(_ count: Int) { appendHeader(UInt8(ascii: "*"), count) }

    /// The start of a message that nobody asked for: a push in RESP3, an array in RESP2.
    mutating func appendPush(_ count: Int, isRESP3: Bool) {
        appendHeader(isRESP3 ? UInt8(ascii: ">") : UInt8(ascii: "*"), count)
    }

    /// The start of a map: in RESP2 an array of twice as many elements.
    mutating func appendMap(_ count: Int, isRESP3: Bool) {
        isRESP3 ? appendHeader(UInt8(ascii: "%"), count) : appendArray(count * 2)
    }

    mutating func appendNull(isRESP3: Bool) {
        isRESP3 ? append("_\r\n") : append("$-1\r\n")
    }

    @inline(__always)
    mutating func appendBulk(_ bytes: Span<UInt8>, _ start: Int, _ count: Int) {
        appendHeader(UInt8(ascii: "$"), count)
        append(bytes, start, count)
        append("\r\n")
    }

    @inline(__always)
    mutating func appendBulk(_ bytes: Span<UInt8>, _ slice: Slice) {
        appendBulk(bytes, Int(slice.start), Int(slice.count))
    }

    mutating func appendBulk(_ text: StaticString) {
        appendHeader(UInt8(ascii: "$"), text.utf8CodeUnitCount)
        append(text)
        append("\r\n")
    }

    mutating func appendBulk(_ bytes: [UInt8]) { appendBulk(bytes.span, 0, bytes.count) }

    mutating func appendBulk(_ text: String) { appendBulk(Array(text.utf8)) }

    /// Scalars from here on, of a private plane, stand for the byte in their last eight bits, from
    /// 0x80 on: so texts can quote what is no UTF-8.
    static var carriedBytes: UInt32 { 0x10_FF00 }

    /// `+text` or `-text`. Line ends, which would end the reply, become spaces as in Redis.
    mutating func appendLine(_ marker: UInt8, _ text: String) {
        append(marker)
        for scalar in text.unicodeScalars {
            if scalar.value >= Self.carriedBytes + 0x80 {
                append(UInt8(truncatingIfNeeded: scalar.value))
            } else if scalar == "\r" || scalar == "\n" {
                append(0x20)
            } else {
                for byte in UTF8.encode(scalar)! { append(byte) }
            }
        }
        append("\r\n")
    }

    mutating func appendSimple(_ text: String) { appendLine(UInt8(ascii: "+"), text) }

    mutating func appendError(_ text: String) { appendLine(UInt8(ascii: "-"), text) }

    /// A value of any shape.
    mutating func appendReply(_ value: ReplyValue, isRESP3: Bool) {
        switch value {
        case .simple(let text): appendSimple(text)
        case .error(let text): appendError(text)
        case .integer(let number): appendInteger(number)
        case .bulk(let bytes): appendBulk(bytes)
        case .text(let text): appendBulk(text)
        case .verbatim(let text):
            guard isRESP3 else { return appendBulk(text) }
            let bytes = Array(text.utf8)
            appendHeader(UInt8(ascii: "="), bytes.count + 4)
            append("txt:")
            append(bytes)
            append("\r\n")
        case .null: appendNull(isRESP3: isRESP3)
        case .array(let values):
            appendArray(values.count)
            for value in values { appendReply(value, isRESP3: isRESP3) }
        case .map(let pairs):
            appendMap(pairs.count, isRESP3: isRESP3)
            for (key, value) in pairs {
                appendBulk(key)
                appendReply(value, isRESP3: isRESP3)
            }
        }
    }
}

/// A header of up to three digits in one word: `$128\r\n`, `:1\r\n`. It is written by one store, which
/// may write up to `slack` bytes behind the header.
struct HeaderWord {
    static let slack = 8

    /// In little-endian order.
    let bytes: UInt64
    let count: Int
    /// False: the value is negative or has more than three digits.
    let isWhole: Bool

    @inline(__always)
    init(_ marker: UInt8, _ value: Int) {
        let first = UInt64(marker)
        let number = UInt64(truncatingIfNeeded: value)
        if number < 10 {
            bytes = first | (0x0A_0D30 &+ number) &<< 8
            count = 4
            isWhole = true
        } else if number < 100 {
            // 205 / 2^11 is a tenth for all numbers below 1,029; 5,243 / 2^19 a hundredth.
            let tens = (number &* 205) &>> 11
            let ones = number &- tens &* 10
            bytes = first | (0x0A0D_3030 &+ tens &+ ones &<< 8) &<< 8
            count = 5
            isWhole = true
        } else if number < 1_000 {
            let hundreds = (number &* 5_243) &>> 19
            let rest = number &- hundreds &* 100
            let tens = (rest &* 205) &>> 11
            let ones = rest &- tens &* 10
            bytes =
                first
                | (0x0A_0D30_3030 &+ hundreds &+ tens &<< 8 &+ ones &<< 16) &<< 8
            count = 6
            isWhole = true
        } else {
            bytes = 0
            count = 0
            isWhole = false
        }
    }
}

/// `$` and a length, of any number of digits.
struct BulkHeader {
    let word: HeaderWord
    let count: Int

    @inline(__always)
    init(_ value: Int) {
        word = HeaderWord(UInt8(ascii: "$"), value)
        count = word.isWhole ? word.count : decimalCount(value) + 3
    }
}

/// Writes `$count`, the bytes and their CR LFs, and moves `place` behind them.
@inline(__always)
func writeBulk(
    _ target: inout UnsafeMutableRawPointer, _ bytes: UnsafeRawPointer, _ count: Int,
    _ header: BulkHeader
) {
    let lineEnd = UInt16(littleEndian: 0x0A0D)
    if header.word.isWhole {
        unsafe target.storeBytes(of: header.word.bytes.littleEndian, as: UInt64.self)
    } else {
        unsafe target.storeBytes(of: UInt8(ascii: "$"), as: UInt8.self)
        unsafe writeDecimal(count, header.count - 3, to: target + 1)
        unsafe (target + header.count - 2).storeBytes(of: lineEnd, as: UInt16.self)
    }
    unsafe target += header.count
    unsafe target.copyMemory(from: bytes, byteCount: count)
    unsafe target += count
    unsafe target.storeBytes(of: lineEnd, as: UInt16.self)
    unsafe target += 2
}

/// The bytes of `value` in decimal, sign included.
@inline(never)
private func decimalCount(_ value: Int) -> Int {
    if value >= 0, value < 10 { return 1 }
    var count = value < 0 ? 2 : 1
    var rest = value.magnitude
    while rest >= 10 {
        rest /= 10
        count += 1
    }
    return count
}

@inline(never)
private func writeDecimal(_ value: Int, _ count: Int, to target: UnsafeMutableRawPointer) {
    var rest = value.magnitude
    var at = count
    repeat {
        at -= 1
        unsafe (target + at).storeBytes(
            of: UInt8(truncatingIfNeeded: rest % 10) + UInt8(ascii: "0"), as: UInt8.self)
        rest /= 10
    } while rest > 0
    if value < 0 { unsafe target.storeBytes(of: UInt8(ascii: "-"), as: UInt8.self) }
}
