import Glibc

/// All that a schedule has shown: one digest for each connection, of every byte that it has read.
struct Record {
    /// A person reads along: lines are printed.
    let isRead: Bool
    private var connections: [Digest] = []
    /// Of what is not bytes of a connection: its end, and the figures at the end.
    private var others = Digest()

    init(isRead: Bool) { self.isRead = isRead }

    mutating func begin(_ connection: Int) {
        precondition(connection == connections.count)
        connections.append(Digest())
    }

    mutating func took(_ bytes: [UInt8], _ connection: Int) { connections[connection].add(bytes) }

    /// Something beside the bytes that has to be equal.
    mutating func add(_ text: String) { others.add(Array(text.utf8)) }

    /// Something that is only read.
    mutating func note(_ text: @autoclosure () -> String) {
        if isRead { write(line: text()) }
    }

    var digest: UInt64 {
        var sum = others
        for connection in connections { sum.add([UInt8](littleEndian: connection.value)) }
        return sum.value
    }
}

/// A hash of bytes that come in pieces of any size. It finds differences; it hides none on purpose.
struct Digest {
    private var state: UInt64 = 0x9E37_79B9_7F4A_7C15
    private var count: UInt64 = 0
    /// Bytes that do not fill a word yet, the first in the lowest place.
    private var word: UInt64 = 0

    mutating func add(_ bytes: [UInt8]) {
        bytes.withUnsafeBytes { raw in
            var at = 0
            while at < raw.count {
                if count % 8 == 0, raw.count - at >= 8 {
                    mix(raw.loadUnaligned(fromByteOffset: at, as: UInt64.self))
                    at += 8
                    count += 8
                    continue
                }
                word |= UInt64(raw[at]) << (8 * (count % 8))
                count += 1
                at += 1
                if count % 8 == 0 {
                    mix(word)
                    word = 0
                }
            }
        }
    }

    private mutating func mix(_ next: UInt64) {
        let (high, low) = (state ^ next).multipliedFullWidth(by: 0xBF58_476D_1CE4_E5B9)
        state = (state << 23 | state >> 41) &+ (high ^ low)
    }

    /// The hash of what has come so far.
    var value: UInt64 {
        var end = self
        end.mix(word)
        end.mix(count)
        return end.state
    }
}

/// Bytes as a person reads them: `·` is CR LF, `x{40}` are forty of the same.
func shown(_ bytes: some Collection<UInt8>) -> String {
    let bytes = Array(bytes)
    var text = ""
    var at = 0
    while at < bytes.count {
        let byte = bytes[at]
        if byte == 0x0D, at + 1 < bytes.count, bytes[at + 1] == 0x0A {
            text += "·"
            at += 2
            continue
        }
        var end = at
        while end < bytes.count, bytes[end] == byte { end += 1 }
        var letter = String(UnicodeScalar(byte))
        if byte < 0x20 || byte > 0x7E { letter = "\\x" + String(byte, radix: 16) }
        if end - at > 8 {
            text += "\(letter){\(end - at)}"
        } else {
            text += String(repeating: letter, count: end - at)
        }
        at = end
    }
    return text
}

/// Writes a line at once: what a schedule that traps, or goes on for ever, has told is not lost.
func write(line: String, isError: Bool = false) {
    let bytes = Array((line + "\n").utf8)
    _ = unsafe write(isError ? STDERR_FILENO : STDOUT_FILENO, bytes, bytes.count)
}

/// A schedule that goes on for ever ends the process by SIGALRM.
func limitTime() { alarm(20) }

func exitProcess(_ status: Int32) -> Never { exit(status) }

extension [UInt8] {
    init(littleEndian word: UInt64) {
        self = (0..<8).map { UInt8(truncatingIfNeeded: word >> (8 * UInt64($0))) }
    }
}
