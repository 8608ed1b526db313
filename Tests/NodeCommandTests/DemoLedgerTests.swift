import Testing

@testable import NodeCommand

struct DemoLedgerTests {
    private static let toBob = DemoLedger.Course(sender: 0, receiver: 1, isChannel: false)
    private static let toCemInChannel = DemoLedger.Course(sender: 0, receiver: 2, isChannel: true)
    private static func at(_ milliseconds: Int) -> Duration { .milliseconds(milliseconds) }

    @Test func `a copy arrives once, the second time is a duplicate`() {
        var ledger = DemoLedger(userCount: 3)
        let sequence = ledger.sent(from: 0, to: 1, on: 0, at: Self.at(5))
        #expect(sequence == 1)
        #expect(ledger.openCount == 1)
        let first = ledger.received(Self.toBob, 1, sentAt: Self.at(5), at: Self.at(7))
        #expect(first == .first)
        #expect(ledger.openCount == 0)
        #expect(ledger.latency.quantile(0.5) == .microseconds(2_047))
        let second = ledger.received(Self.toBob, 1, sentAt: Self.at(5), at: Self.at(8))
        #expect(second == .duplicate)
        #expect(ledger.delivered == 1)
        #expect(ledger.duplicates == 1)
    }

    @Test func `a message that was never sent is no duplicate`() {
        var ledger = DemoLedger(userCount: 3)
        let arrival = ledger.received(Self.toBob, 1, sentAt: .zero, at: Self.at(1))
        #expect(arrival == .unknown)
        #expect(ledger.delivered == 0)
        #expect(ledger.duplicates == 0)
    }

    @Test func `order is checked for each pair by itself`() {
        var ledger = DemoLedger(userCount: 3)
        for _ in 0..<2 { _ = ledger.sent(from: 0, to: 1, on: 0, at: .zero) }
        _ = ledger.published(from: 0, to: [1, 2], on: 0, at: .zero)
        for sequence in [2, 1] {
            let arrival = ledger.received(Self.toBob, sequence, sentAt: .zero, at: Self.at(1))
            #expect(arrival == .first)
        }
        let arrival = ledger.received(Self.toCemInChannel, 1, sentAt: .zero, at: Self.at(1))
        #expect(arrival == .first)
        #expect(ledger.outOfOrder == 1)
        #expect(ledger.openCount == 1)
    }

    @Test func `a publication is one message and a copy for each listener`() {
        var ledger = DemoLedger(userCount: 3)
        let first = ledger.published(from: 0, to: [0, 1, 2], on: 0, at: .zero)
        let second = ledger.published(from: 0, to: [1, 2], on: 0, at: .zero)
        #expect([first, second] == [1, 2])
        #expect(ledger.sent == 2)
        #expect(ledger.expected == 5)
        let missing = ledger.missing(before: Self.at(1))
        #expect(missing.map(\.copy.sequence) == [1, 1, 2, 1, 2])
        #expect(missing.map(\.course.receiver) == [0, 1, 1, 2, 2])
        #expect(missing.allSatisfy { $0.course.isChannel })
    }
}

struct DemoLossesTests {
    private static let kill = DemoKill(
        node: 2, killedAt: .seconds(5), users: [1], droppedAt: .seconds(5) + .milliseconds(100),
        knownAt: .seconds(6))

    /// One copy that is missing.
    private func losses(
        from sender: Int, to receiver: Int, on node: Int, at milliseconds: Int, answer: Int? = 1,
        kills: [DemoKill] = [kill], isFullMesh: Bool = true
    ) -> DemoLosses {
        var ledger = DemoLedger(userCount: 4)
        let time = Duration.milliseconds(milliseconds)
        let sequence = ledger.sent(from: sender, to: receiver, on: node, at: time)
        if let answer {
            let course = DemoLedger.Course(sender: sender, receiver: receiver, isChannel: false)
            ledger.answered(course, sequence, answer)
        }
        return DemoLosses(ledger.missing(before: .seconds(60)), kills, isFullMesh: isFullMesh)
    }

    @Test func `a loss without a kill has no reason`() {
        #expect(losses(from: 0, to: 1, on: 0, at: 5_000, kills: []).unexplained == 1)
    }

    @Test func `a loss to a killed node's user is explained until all know of the kill`() {
        #expect(losses(from: 0, to: 1, on: 0, at: 4_950).toKilled == 1)
        #expect(losses(from: 0, to: 1, on: 0, at: 5_999).toKilled == 1)
        #expect(losses(from: 0, to: 1, on: 0, at: 4_800).unexplained == 1)
        #expect(losses(from: 0, to: 1, on: 0, at: 6_001).unexplained == 1)
    }

    @Test func `an answer of 0 counts as refused only around a kill`() {
        #expect(losses(from: 0, to: 1, on: 0, at: 5_500, answer: 0).refused == 1)
        #expect(losses(from: 0, to: 1, on: 0, at: 7_000, answer: 0).unexplained == 1)
        #expect(losses(from: 0, to: 3, on: 0, at: 5_500, answer: 0).unexplained == 1)
    }

    @Test func `messages published through the killed node may have died with it`() {
        #expect(losses(from: 1, to: 0, on: 2, at: 5_000, answer: nil).fromKilled == 1)
        #expect(losses(from: 1, to: 0, on: 2, at: 4_000, answer: nil).unexplained == 1)
    }

    @Test func `nothing passes through a third node of a full mesh`() {
        #expect(losses(from: 0, to: 3, on: 0, at: 5_000).unexplained == 1)
        #expect(losses(from: 0, to: 3, on: 0, at: 5_000, isFullMesh: false).throughKilled == 1)
        #expect(losses(from: 0, to: 3, on: 0, at: 5_101, isFullMesh: false).unexplained == 1)
    }
}

struct DemoMessageTests {
    @Test func `a message is itself after encoding, to the microsecond`() throws {
        let message = DemoMessage(
            sender: "ann", sequence: 412, sentAt: .microseconds(4_000_123), text: "tea: at five?")
        #expect(message.encoded == "ann #412 at 4.000123 s: tea: at five?")
        #expect(DemoMessage(message.encoded) == message)
    }

    @Test(arguments: [
        "", "hello", "ann: hello", "ann #0 at 4.000123 s: x", "ann #-1 at 4.000123 s: x",
        "ann #1 at 4.1 s: x", "ann #1 at 4.000123 m: x", "ann 1 at 4.000123 s: x",
        "ann #1 at -4.000123 s: x", "ann #1 at 99999999999.000000 s: x",
    ])
    func `a guest's words are no message`(_ text: String) {
        #expect(DemoMessage(text) == nil)
    }
}

struct LatencyHistogramTests {
    @Test func `a quantile is at most a sixteenth above the truth`() throws {
        var histogram = LatencyHistogram()
        #expect(histogram.quantile(0.5) == nil)
        for microseconds in 1...1_000 { histogram.add(.microseconds(microseconds)) }
        for (share, truth) in [(0.5, 500), (0.99, 990), (1, 1_000)] {
            let found = try #require(histogram.quantile(share)).inMicroseconds
            #expect(found >= truth)
            #expect(Double(found) <= Double(truth) * (1 + 1.0 / 16))
        }
    }

    @Test(arguments: [0, 1, 15, 16, 17, 31, 32, 33, 63, 64, 4_095, 1 << 31])
    func `each value has a bucket that ends at or after it`(_ value: Int64) throws {
        var histogram = LatencyHistogram()
        histogram.add(.microseconds(value))
        let found = try #require(histogram.quantile(1)).inMicroseconds
        #expect(found >= value)
        #expect(found <= value + value / 16)
    }

    @Test func `absurd values count as the largest or least`() {
        var histogram = LatencyHistogram()
        histogram.add(.seconds(1_000_000))
        histogram.add(.seconds(-1))
        #expect(histogram.count == 2)
        #expect(histogram.quantile(0.1) == .zero)
    }
}
