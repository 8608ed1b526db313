/// A reply of a server, RESP3, as a client reads it.
public enum RESPReply: Equatable, Sendable {
    case text(String)
    case integer(Int)
    case double(Double)
    case null
    case array([RESPReply])
    case map([(name: String, value: RESPReply)])
    case error(String)
    /// No reply to a command: the node speaks by itself. Its first element says of what.
    case push([RESPReply])

    public static func == (left: RESPReply, right: RESPReply) -> Bool {
        switch (left, right) {
        case (.text(let left), .text(let right)): left == right
        case (.integer(let left), .integer(let right)): left == right
        case (.double(let left), .double(let right)): left == right
        case (.null, .null): true
        case (.array(let left), .array(let right)): left == right
        case (.map(let left), .map(let right)):
            left.map(\.name) == right.map(\.name) && left.map(\.value) == right.map(\.value)
        case (.error(let left), .error(let right)): left == right
        case (.push(let left), .push(let right)): left == right
        default: false
        }
    }

    /// A field of a map.
    public subscript(name: String) -> RESPReply? {
        guard case .map(let fields) = self else { return nil }
        return fields.first { $0.name == name }?.value
    }

    /// The elements of an array; empty for anything else.
    public var elements: [RESPReply] {
        if case .array(let values) = self { values } else { [] }
    }

    /// The number; nil for anything else.
    public var number: Int? {
        if case .integer(let number) = self { number } else { nil }
    }

    /// The value in words; lists are joined.
    public var shown: String {
        switch self {
        case .text(let text): text
        case .integer(let number): String(number)
        case .double(let number): String(number)
        case .null: "-"
        case .array(let values), .push(let values):
            values.map(\.shown).joined(separator: " → ")
        case .map(let fields):
            fields.map { "\($0.name)=\($0.value.shown)" }.joined(separator: " ")
        case .error(let text): text
        }
    }
}

/// Bytes that are no RESP3, or more of them than a node's answer has.
public struct MalformedReply: Error, Equatable {
    public init() {}
}

/// A node's bytes, in pieces of any size, to replies. Takes RESP2 as well.
///
/// Bounds: 256 MiB for one reply, 64 KiB for one line, 32 levels of nesting.
public struct RESPDecoder {
    private static let replyBytesMax = 256 * 1024 * 1024
    private static let lineBytesMax = 64 * 1024
    private static let depthMax = 32

    /// An aggregate whose elements have not all come.
    private struct Open {
        enum Kind { case array, map, push }
        var kind: Kind
        /// Elements that are missing; a field of a map is two.
        var missing: Int
        var values: [RESPReply] = []

        var reply: RESPReply {
            switch kind {
            case .array: .array(values)
            case .push: .push(values)
            case .map:
                .map(
                    stride(from: 0, to: values.count, by: 2).map {
                        (name: values[$0].shown, value: values[$0 + 1])
                    })
            }
        }
    }

    private var input: [UInt8] = []
    /// Where the next line or body begins in `input`.
    private var at = 0
    /// Up to here there is no end of the line that begins at `at`.
    private var searched = 0
    /// A text whose length is known and whose body has not all come.
    private var body: (count: Int, isError: Bool)?
    private var open: [Open] = []
    /// Bytes of the reply under way that were taken from `input`.
    private var taken = 0

    public init() {}

    /// Adds bytes that have arrived.
    public mutating func append(_ bytes: some Sequence<UInt8>) {
        if at > 0 {
            input.removeFirst(at)
            searched -= at
            at = 0
        }
        input += bytes
    }

    /// The next whole reply; nil when its bytes have not all arrived.
    public mutating func next() throws(MalformedReply) -> RESPReply? {
        while let value = try nextValue() {
            var complete: RESPReply? = value
            while let reply = complete {
                guard var inner = open.popLast() else {
                    taken = 0
                    return reply
                }
                inner.values.append(reply)
                inner.missing -= 1
                complete = inner.missing == 0 ? inner.reply : nil
                if inner.missing > 0 { open.append(inner) }
            }
        }
        return nil
    }

    /// The next value that has no missing elements. Opens the aggregates that begin before it.
    private mutating func nextValue() throws(MalformedReply) -> RESPReply? {
        while true {
            if let (count, isError) = body {
                guard input.count - at >= count + 2 else { return nil }
                let text = String(decoding: input[at..<(at + count)], as: UTF8.self)
                try take(count + 2)
                body = nil
                return isError ? .error(text) : .text(text)
            }
            guard let line = try nextLine() else { return nil }
            if let value = try value(of: line) { return value }
        }
    }

    private mutating func nextLine() throws(MalformedReply) -> ArraySlice<UInt8>? {
        guard let end = input[searched...].firstIndex(of: 10) else {
            searched = input.count
            guard searched - at <= Self.lineBytesMax else { throw MalformedReply() }
            return nil
        }
        let line = input[at..<end]
        try take(end + 1 - at)
        return line.last == 13 ? line.dropLast() : line
    }

    private mutating func take(_ count: Int) throws(MalformedReply) {
        at += count
        searched = at
        taken += count
        guard taken <= Self.replyBytesMax else { throw MalformedReply() }
    }

    /// The value of a line by itself; nil when it begins a text or an aggregate.
    private mutating func value(of line: ArraySlice<UInt8>) throws(MalformedReply) -> RESPReply? {
        guard let kind = line.first else { throw MalformedReply() }
        let text = String(decoding: line.dropFirst(), as: UTF8.self)
        switch kind {
        case UInt8(ascii: "+"): return .text(text)
        case UInt8(ascii: "-"): return .error(text)
        case UInt8(ascii: ":"):
            guard let number = Int(text) else { throw MalformedReply() }
            return .integer(number)
        case UInt8(ascii: ","):
            guard let number = Double(text) else { throw MalformedReply() }
            return .double(number)
        case UInt8(ascii: "_"): return .null
        case UInt8(ascii: "#"): return .integer(text == "t" ? 1 : 0)
        case UInt8(ascii: "$"), UInt8(ascii: "="), UInt8(ascii: "!"):
            if text == "-1" { return .null }
            body = (try count(text), kind == UInt8(ascii: "!"))
            return nil
        case UInt8(ascii: "*"), UInt8(ascii: "~"):
            return text == "-1" ? .null : try begin(.array, try count(text))
        case UInt8(ascii: ">"): return try begin(.push, try count(text))
        case UInt8(ascii: "%"): return try begin(.map, try count(text) * 2)
        default: throw MalformedReply()
        }
    }

    /// The aggregate itself when it has no elements.
    private mutating func begin(
        _ kind: Open.Kind, _ count: Int
    ) throws(MalformedReply) -> RESPReply? {
        let aggregate = Open(kind: kind, missing: count)
        if count == 0 { return aggregate.reply }
        guard open.count < Self.depthMax else { throw MalformedReply() }
        open.append(aggregate)
        return nil
    }

    private func count(_ text: String) throws(MalformedReply) -> Int {
        guard let count = Int(text), count >= 0, count <= Self.replyBytesMax else {
            throw MalformedReply()
        }
        return count
    }

    /// A command as a node reads it.
    public static func command(_ words: [String]) -> [UInt8] {
        var bytes = Array("*\(words.count)\r\n".utf8)
        for word in words {
            bytes += Array("$\(word.utf8.count)\r\n".utf8)
            bytes += Array(word.utf8)
            bytes += [13, 10]
        }
        return bytes
    }
}
