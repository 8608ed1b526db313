import MeshWire

@testable import MeshTransport

/// A Redis client of the tests: RESP2, written and read by hand.
extension TestSocket {
    static func command(_ words: [String]) -> [UInt8] {
        Array(
            ("*\(words.count)\r\n"
                + words.map { "$\($0.utf8.count)\r\n\($0)\r\n" }.joined()).utf8)
    }

    /// Sends one command and waits for exactly this reply.
    func call(_ words: String..., expecting reply: String) throws {
        try send(TestSocket.command(words))
        let answer = try receive(count: reply.utf8.count)
        let text = String(decoding: answer, as: UTF8.self)
        if text != reply { throw TestTimeout(description: "\(words) was answered with \(text)") }
    }

    func subscribe(_ channel: String) throws {
        try call(
            "SUBSCRIBE", channel,
            expecting: "*3\r\n$9\r\nsubscribe\r\n$\(channel.utf8.count)\r\n\(channel)\r\n:1\r\n")
    }

    static func message(_ channel: String, _ payload: String) -> [UInt8] {
        command(["message", channel, payload])
    }

    /// Publishes until somebody is reached: the directory of the node takes a moment.
    func publishUntilHeard(_ channel: String, _ payload: String) throws {
        try eventually("\(channel) has a subscriber") {
            try send(TestSocket.command(["PUBLISH", channel, payload]))
            return try receive(until: "\r\n") == ":1\r\n"
        }
    }
}
