/// A message between users of the demo. The text is for people who listen with a Redis client;
/// the rest lets the receiver check that nothing is lost, doubled or out of order, and how long it
/// took.
///
///     ann #412 at 4.123456 s: tea at five?
struct DemoMessage: Equatable {
    var sender: String
    /// Counts from 1 for each pair of sender and receiver, or sender and channel.
    var sequence: Int
    /// Since the demo began; whole microseconds.
    var sentAt: Duration
    var text: String

    var encoded: String { "\(sender) #\(sequence) at \(Words.seconds(sentAt, digits: 6)): \(text)" }

    init(sender: String, sequence: Int, sentAt: Duration, text: String) {
        self.sender = sender
        self.sequence = sequence
        self.sentAt = .microseconds(sentAt.inMicroseconds)
        self.text = text
    }

    /// Nil for what a guest has written.
    init?(_ encoded: String) {
        let parts = encoded.split(separator: ": ", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2 else { return nil }
        let words = parts[0].split(separator: " ", omittingEmptySubsequences: false)
        guard words.count == 5, words[1].first == "#", words[2] == "at", words[4] == "s",
            let sequence = Int(words[1].dropFirst()), sequence > 0
        else { return nil }
        let time = words[3].split(separator: ".", omittingEmptySubsequences: false)
        guard time.count == 2, time[1].utf8.count == 6, let seconds = Int(time[0]),
            let microseconds = Int(time[1]), seconds >= 0, seconds < 1_000_000_000,
            microseconds >= 0
        else { return nil }
        self.init(
            sender: String(words[0]), sequence: sequence,
            sentAt: .seconds(seconds) + .microseconds(microseconds), text: String(parts[1]))
    }

    /// Something to say, the same for the same number.
    static func text(_ number: Int) -> String { texts[number % texts.count] }

    private static let texts = [
        "good morning", "tea at five?", "have you seen the new ring?", "no broker, no queue",
        "see you at the next hop", "it is a small world", "who is online?", "on my way",
        "that was quick", "same here", "the long links are fun", "all well on this side",
    ]
}

extension Duration {
    /// Whole microseconds, the rest cut off.
    var inMicroseconds: Int64 {
        let (seconds, attoseconds) = components
        return seconds * 1_000_000 + attoseconds / 1_000_000_000_000
    }

    var inSeconds: Double { Double(inMicroseconds) / 1_000_000 }
}
