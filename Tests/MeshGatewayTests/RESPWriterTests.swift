import MeshWire
import Testing

@testable import MeshGateway

/// The frames that are written by whole words, against their plain form.
@Suite struct `RESP writer` {
    /// Around every number of digits, and beyond the words.
    static let numbers =
        Array(0...1_100) + [9_999, 10_000, 123_456, Int(Int32.max), .max, -1, -10, .min]

    @Test func `a header holds its number, of any number of digits`() {
        for number in Self.numbers {
            var queue = ByteQueue()
            queue.appendInteger(number)
            queue.append("!")
            #expect(text(queue) == ":\(number)\r\n!")
        }
    }

    @Test(arguments: [false, true])
    func `what follows a header stands right behind it, in messages of any length`(isRESP3: Bool) {
        let words: [(MessageWord, String)] = [
            (.message, "message"), (.shardMessage, "smessage"), (.user, "user"),
        ]
        let sizes = Array(0...24) + [99, 100, 101, 999, 1_000, 1_001, 70_000]
        for (word, name) in words {
            for size in sizes {
                let channel = String(repeating: "c", count: size % 120)
                let payload = String(repeating: "p", count: size)
                let input = Array((channel + payload + ".").utf8)
                var queue = ByteQueue()
                queue.appendMessage(
                    word, isRESP3: isRESP3, name: Slice(start: 0, count: channel.utf8.count),
                    payload: Slice(start: channel.utf8.count, count: size), input.span)
                let start = isRESP3 ? ">3" : "*3"
                #expect(
                    text(queue)
                        == "\(start)\r\n$\(name.utf8.count)\r\n\(name)\r\n"
                        + "$\(channel.utf8.count)\r\n\(channel)\r\n$\(size)\r\n\(payload)\r\n")
            }
        }
    }

    private func text(_ queue: borrowing ByteQueue) -> String {
        queue.withSpan { String(decoding: Array(copying: $0), as: UTF8.self) }
    }
}
