import MeshWire

/// Commands from bytes: RESP arrays of bulk strings, and lines (`PING\r\n` typed by hand).
///
///     *3\r\n  $7\r\nPUBLISH\r\n  $4\r\nnews\r\n  $5\r\nhello\r\n
///
/// Nothing is copied; the arguments are slices of the input. A command that is not all there is
/// read again from its start when more has come, unless it is a long one: then `RESPProgress` says
/// where to go on, so that the work is linear however the bytes are cut.
///
/// Differences from Redis 7: the two bytes after a bulk string must be CR LF; a length that cannot
/// be one is refused at its first wrong byte.
enum RESPParser {
    /// The longest line (Redis's PROTO_INLINE_MAX_SIZE).
    static let lineBytesMax = 64 * 1024
    /// A command with at least this many arguments read is not read again from its start.
    static let resumableCount = 32

    enum Outcome {
        /// A command of so many bytes; its arguments are in the list, at least one.
        case command(size: Int)
        /// A line of so many bytes, `lineCount` without its end, whose words must be decoded
        /// (`InlineCommand.decode`): they are not in it as they are meant.
        case escapedLine(size: Int, lineCount: Int)
        /// So many bytes that are no command: an empty line, an array of nothing.
        case nothing(size: Int)
        /// So many bytes from the command's start on are needed to go on.
        case incomplete(needed: Int)
        case malformed(RESPError)
    }

    /// Reads the command at `input[start...]`.
    ///
    /// `progress` and `arguments` must be as the last call for this command left them, or fresh.
    static func parse(
        _ input: Span<UInt8>, at start: Int, limits: RESPLimits,
        progress: inout RESPProgress, into arguments: inout ArgumentList
    ) -> Outcome {
        var position = start
        var remaining: Int
        if progress.remaining > 0 {
            position += progress.position
            remaining = progress.remaining
        } else {
            arguments.removeAll()
            guard start < input.count else { return .incomplete(needed: 1) }
            guard input[start] == UInt8(ascii: "*") else {
                return parseLine(input, at: start, progress: &progress, into: &arguments)
            }
            position += 1
            switch length(input, &position) {
            case .value(let count):
                if count > limits.argumentCountMax {
                    return .malformed(limits.argumentCountError)
                }
                if count <= 0 { return .nothing(size: position - start) }
                remaining = count
            case .incomplete:
                return .incomplete(needed: input.count - start + 1)
            case .malformed:
                return .malformed(.multibulkLength)
            }
        }

        while remaining > 0 {
            // The place to go on from must be the border before this argument, not within it.
            let border = position
            var needed = position + 1
            if position < input.count {
                let marker = input[position]
                if marker != UInt8(ascii: "$") { return .malformed(.expectedDollar(marker)) }
                position += 1
                switch length(input, &position) {
                case .value(let size):
                    if size < 0 { return .malformed(.bulkLength) }
                    if size > limits.bulkBytesMax { return .malformed(limits.bulkError(size)) }
                    let end = position + size
                    if end + 2 - start > limits.requestBytesMax { return .malformed(.tooBig) }
                    if end + 2 <= input.count {
                        if input[end] != UInt8(ascii: "\r") || input[end + 1] != UInt8(ascii: "\n")
                        {
                            return .malformed(.bulkEnd)
                        }
                        arguments.append(Slice(start: position - start, count: size))
                        position = end + 2
                        remaining -= 1
                        continue
                    }
                    needed = end + 2
                case .incomplete:
                    needed = input.count + 1
                case .malformed:
                    return .malformed(.bulkLength)
                }
            }
            if arguments.count >= resumableCount {
                progress.position = border - start
                progress.remaining = remaining
            } else {
                progress = RESPProgress()
            }
            return .incomplete(needed: needed - start)
        }
        progress = RESPProgress()
        return .command(size: position - start)
    }

    /// The two arguments of a whole `*3 $7 PUBLISH name payload`, as almost all clients send it;
    /// nil when it is anything else, which `parse` then looks at.
    @inline(__always)
    static func publish(
        _ input: Span<UInt8>, at start: Int, requestBytesMax: Int
    ) -> (name: Slice, payload: Slice, end: Int)? {
        guard start + 24 <= input.count,
            input.load(UInt64.self, at: start) == 0x0A0D_3724_0A0D_332A,
            input.load(UInt64.self, at: start + 8) | 0x0020_2020_2020_2020
                == 0x0D68_7369_6C62_7570,
            input[start + 16] == UInt8(ascii: "\n")
        else { return nil }
        var position = start + 17
        guard let name = wholeBulk(input, &position),
            let payload = wholeBulk(input, &position),
            position - start <= requestBytesMax
        else { return nil }
        return (name, payload, position)
    }

    /// The bulk string at `position`, which moves past it; nil when it is not whole or not regular.
    @inline(__always)
    private static func wholeBulk(_ input: Span<UInt8>, _ position: inout Int) -> Slice? {
        guard position + 8 <= input.count else { return nil }
        // The header of a short string in one word: `$`, one to three digits, CR LF.
        let word = input.load(UInt64.self, at: position)
        var size: Int
        var at: Int
        if word & 0xFFFF_00FF == 0x0A0D_0024 {
            let ones = digit(word, 1)
            guard ones < 10 else { return nil }
            size = Int(truncatingIfNeeded: ones)
            at = position + 4
        } else if word & 0xFF_FF00_00FF == 0x0A_0D00_0024 {
            let tens = digit(word, 1)
            let ones = digit(word, 2)
            guard tens &- 1 < 9, ones < 10 else { return nil }
            size = Int(truncatingIfNeeded: tens &* 10 &+ ones)
            at = position + 5
        } else if word & 0xFFFF_0000_00FF == 0x0A0D_0000_0024 {
            let hundreds = digit(word, 1)
            let tens = digit(word, 2)
            let ones = digit(word, 3)
            guard hundreds &- 1 < 9, tens < 10, ones < 10 else { return nil }
            size = Int(truncatingIfNeeded: hundreds &* 100 &+ tens &* 10 &+ ones)
            at = position + 6
        } else {
            guard word & 0xFF == UInt64(UInt8(ascii: "$")) else { return nil }
            at = position + 1
            guard case .value(let value) = length(input, &at), value >= 0 else { return nil }
            size = value
        }
        let end = at + size
        guard end + 2 <= input.count, input.load(UInt16.self, at: end) == 0x0A0D else {
            return nil
        }
        position = end + 2
        return Slice(start: at, count: size)
    }

    /// The digit in this byte of a word; what is none is 10 or more.
    @inline(__always)
    private static func digit(_ word: UInt64, _ index: UInt64) -> UInt64 {
        (word &>> (index &* 8) & 0xFF) &- 0x30
    }

    enum Length {
        case value(Int)
        case incomplete
        case malformed
    }

    /// The integer line at `position`, as Redis writes them: no sign but `-`, no leading zeros, and
    /// for us at most ten digits. `position` moves past the line's end.
    @inline(__always)
    static func length(_ input: Span<UInt8>, _ position: inout Int) -> Length {
        var at = position
        let end = input.count
        guard at < end else { return .incomplete }
        let isNegative = input[at] == UInt8(ascii: "-")
        if isNegative { at += 1 }
        let firstDigit = at
        var value = 0
        while at < end {
            let digit = input[at] &- UInt8(ascii: "0")
            if digit > 9 { break }
            value = value * 10 + Int(digit)
            at += 1
            if at - firstDigit > 10 { return .malformed }
        }
        guard at < end else { return .incomplete }
        let digitCount = at - firstDigit
        guard input[at] == UInt8(ascii: "\r"), digitCount > 0,
            digitCount == 1 || input[firstDigit] != UInt8(ascii: "0")
        else { return .malformed }
        guard at + 1 < end else { return .incomplete }
        guard input[at + 1] == UInt8(ascii: "\n") else { return .malformed }
        position = at + 2
        return .value(isNegative ? -value : value)
    }

    // MARK: Lines

    private static func parseLine(
        _ input: Span<UInt8>, at start: Int, progress: inout RESPProgress,
        into arguments: inout ArgumentList
    ) -> Outcome {
        var newline = start + progress.position
        let end = min(input.count, start + lineBytesMax + 1)
        while newline < end, input[newline] != UInt8(ascii: "\n") { newline += 1 }
        if newline == end {
            if end - start > lineBytesMax { return .malformed(.tooBigLine) }
            progress.position = newline - start
            return .incomplete(needed: newline - start + 1)
        }
        progress = RESPProgress()
        var lineEnd = newline
        if lineEnd > start, input[lineEnd - 1] == UInt8(ascii: "\r") { lineEnd -= 1 }
        let size = newline + 1 - start
        switch InlineCommand.split(input, start, lineEnd, into: &arguments) {
        case .words: return arguments.count == 0 ? .nothing(size: size) : .command(size: size)
        case .escaped: return .escapedLine(size: size, lineCount: lineEnd - start)
        case .unbalanced: return .malformed(.unbalancedQuotes)
        }
    }
}

/// How far a long command has been read: relative to its first byte.
struct RESPProgress {
    /// The border after the last argument read; for a line, the bytes without a newline.
    var position = 0
    /// Arguments still to come; 0: begin at the start.
    var remaining = 0
}

/// The most that a client may send; less before it has authenticated itself.
struct RESPLimits {
    var argumentCountMax: Int
    var argumentCountError: RESPError
    var bulkBytesMax: Int
    var requestBytesMax: Int
    private let isAuthenticated: Bool

    /// Redis's bound for an argument: what is longer is refused in its words.
    private static let redisBulkMax = 512 * 1024 * 1024

    /// - Parameters:
    ///   - requestBytesMax: the largest command, all its arguments together.
    ///   - messageBytesMax: the largest argument.
    init(requestBytesMax: Int, messageBytesMax: Int, isAuthenticated: Bool) {
        self.requestBytesMax = requestBytesMax
        self.isAuthenticated = isAuthenticated
        if isAuthenticated {
            // Redis's bound until version 7; eight bytes are kept for each argument.
            argumentCountMax = 1024 * 1024
            argumentCountError = .multibulkLength
            bulkBytesMax = min(requestBytesMax, messageBytesMax)
        } else {
            argumentCountMax = 10
            argumentCountError = .unauthenticatedMultibulk
            bulkBytesMax = 16 * 1024
        }
    }

    /// An argument of so many bytes, which is more than `bulkBytesMax`.
    func bulkError(_ count: Int) -> RESPError {
        if !isAuthenticated { return .unauthenticatedBulk }
        return count > Self.redisBulkMax
            ? .bulkLength : .messageTooLong(count: count, bytesMax: bulkBytesMax)
    }
}

/// Bytes that are no command; they end the connection, in Redis's words.
enum RESPError: Error, Equatable {
    case multibulkLength
    case bulkLength
    case messageTooLong(count: Int, bytesMax: Int)
    case expectedDollar(UInt8)
    case bulkEnd
    case tooBig
    case tooBigLine
    case unbalancedQuotes
    case unauthenticatedMultibulk
    case unauthenticatedBulk
}
