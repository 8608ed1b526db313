import MeshWire
import Testing

@testable import MeshCore

/// Two nodes that know each other; Bob is at the second.
func pairWithBob(_ configure: (inout Configuration) -> Void = { _ in }) -> SmallMesh {
    let mesh = SmallMesh(2, configure: configure)
    mesh.attach("bob", at: 1)
    mesh.forget()
    return mesh
}

/// Payloads of two bytes, each its number.
func numbers(_ range: ClosedRange<Int>) -> [[UInt8]] {
    range.map { [UInt8($0 & 0xFF), UInt8($0 >> 8)] }
}

@Suite struct FlowTests {
    @Test func `in order each message is delivered once and acknowledged`() {
        let mesh = pairWithBob()
        for payload in numbers(1...100) {
            let count = mesh.send(payload, from: 0, to: "bob")
            #expect(count == 1)
        }
        #expect(mesh.hosts[0].node.flowSizes().retainedCount == 100)
        mesh.run(for: .milliseconds(30))
        #expect(mesh.payloads(at: 1) == numbers(1...100))
        let sizes = mesh.hosts[0].node.flowSizes()
        #expect(sizes.retainedCount == 0 && sizes.retainedBytes == 0)
        #expect(mesh.hosts[0].node.counters[.retransmitted] == 0)
        // All came in one turn, but for one turn a frame here: one for each 16 at the most.
        #expect(mesh.hosts[1].node.counters[.acknowledgementsSent] <= 7)
    }

    @Test func `a single message is acknowledged after 20 ms`() {
        let mesh = pairWithBob()
        mesh.send([1], from: 0, to: "bob")
        mesh.run(for: .milliseconds(15))
        #expect(mesh.payloads(at: 1) == [[1]])
        #expect(mesh.hosts[1].node.counters[.acknowledgementsSent] == 0)
        mesh.run(for: .milliseconds(10))
        #expect(mesh.hosts[1].node.counters[.acknowledgementsSent] == 1)
        #expect(mesh.hosts[0].node.flowSizes().retainedCount == 0)
    }

    @Test func `a message the other way carries the acknowledgement`() {
        let mesh = pairWithBob()
        mesh.attach("ann", at: 0)
        mesh.send([1], from: 0, to: "bob")
        mesh.run(for: .milliseconds(5))
        mesh.send([2], from: 1, to: "ann")
        mesh.run(for: .milliseconds(60))
        #expect(mesh.payloads(at: 0) == [[2]])
        #expect(mesh.hosts[1].node.counters[.acknowledgementsCarried] == 1)
        #expect(mesh.hosts[1].node.counters[.acknowledgementsSent] == 0)
        #expect(mesh.hosts[0].node.counters[.acknowledgementsSent] == 1)
        #expect(mesh.hosts[0].node.flowSizes().retainedCount == 0)
    }

    /// A message that is sent again is not timed (Karn 1987), so the longer wait has to stay until a message
    /// is that was not: else nothing ever is, and each is sent twice.
    @Test func `a flow learns of a round trip that is longer than its timeout`() {
        let mesh = pairWithBob()
        mesh.send([0], from: 0, to: "bob")
        mesh.run(for: .milliseconds(100))
        mesh.judge = { _, _, _ in .delay(.milliseconds(150)) }
        for number in 1...10 as ClosedRange<UInt8> {
            mesh.send([number], from: 0, to: "bob")
            mesh.run(for: .seconds(1))
        }
        #expect(mesh.payloads(at: 1) == (0...10).map { [$0] })
        #expect(mesh.hosts[0].node.counters[.retransmitted] <= 2)
    }

    @Test func `a message that comes twice is delivered once`() {
        let mesh = pairWithBob()
        mesh.judge = { _, _, frame in
            if case .message = classify(frame) { .double } else { .pass }
        }
        for payload in numbers(1...20) { mesh.send(payload, from: 0, to: "bob") }
        mesh.run(for: .milliseconds(100))
        #expect(mesh.payloads(at: 1) == numbers(1...20))
        #expect(mesh.hosts[1].node.counters[.duplicates] == 20)
        #expect(mesh.hosts[1].node.counters[.protocolErrors] == 0)
    }

    @Test func `a message that overtakes another waits for it`() {
        let mesh = pairWithBob()
        mesh.judge = { _, _, frame in
            classify(frame) == .message(sequence: 2) ? .delay(.milliseconds(3)) : .pass
        }
        for payload in numbers(1...5) { mesh.send(payload, from: 0, to: "bob") }
        mesh.run(for: .milliseconds(2))
        #expect(mesh.payloads(at: 1) == numbers(1...1))
        #expect(mesh.hosts[1].node.flowSizes().reorderedBytes > 0)
        mesh.run(for: .milliseconds(50))
        #expect(mesh.payloads(at: 1) == numbers(1...5))
        #expect(mesh.hosts[1].node.counters[.reordered] == 3)
        // The gap was shorter than it takes to complain about it.
        #expect(mesh.hosts[0].node.counters[.retransmitted] == 0)
        #expect(mesh.hosts[1].node.flowSizes().reorderedBytes == 0)
    }

    @Test func `a message that is lost among others is asked for within milliseconds`() {
        let mesh = pairWithBob()
        var isLost = false
        mesh.judge = { _, _, frame in
            if classify(frame) == .message(sequence: 2), !isLost {
                isLost = true
                return .drop
            }
            return .pass
        }
        for payload in numbers(1...5) { mesh.send(payload, from: 0, to: "bob") }
        mesh.run(for: .milliseconds(12))
        #expect(mesh.payloads(at: 1) == numbers(1...5))
        #expect(mesh.hosts[0].node.counters[.retransmitted] == 1)
    }

    @Test func `the last message of a flow is sent again after 200 ms, then ever more slowly`() {
        let mesh = pairWithBob()
        var times: [Instant] = []
        var isLossy = true
        mesh.judge = { _, _, frame in
            guard case .message = classify(frame) else { return .pass }
            return isLossy ? .drop : .pass
        }
        mesh.send([7], from: 0, to: "bob")
        let start = mesh.now
        var before = mesh.sentCount[0]
        for _ in 0..<450 {
            mesh.run(for: .milliseconds(10))
            if mesh.sentCount[0] > before {
                before = mesh.sentCount[0]
                times.append(mesh.now)
            }
        }
        let delays = times.map { ($0 - start).milliseconds }
        #expect(delays.count == 4)
        for (delay, wanted) in zip(delays, [200, 600, 1_400, 3_000] as [Int64]) {
            #expect(abs(delay - wanted) <= 80, "\(delays)")
        }
        isLossy = false
        mesh.run(for: .seconds(3))
        #expect(mesh.payloads(at: 1) == [[7]])
        #expect(mesh.hosts[0].node.flowSizes().retainedCount == 0)
    }

    @Test func `acknowledgements that are lost lead to duplicates that nobody sees`() {
        let mesh = pairWithBob()
        var lost = 0
        mesh.judge = { _, _, frame in
            if classify(frame) == .acknowledge, lost < 2 {
                lost += 1
                return .drop
            }
            return .pass
        }
        for payload in numbers(1...3) { mesh.send(payload, from: 0, to: "bob") }
        mesh.run(for: .seconds(2))
        #expect(mesh.payloads(at: 1) == numbers(1...3))
        #expect(mesh.hosts[1].node.counters[.duplicates] > 0)
        #expect(mesh.hosts[0].node.flowSizes().retainedCount == 0)
    }

    @Test func `a lost link costs a few milliseconds and nothing else`() {
        let mesh = SmallMesh(3)
        mesh.attach("bob", at: 1)
        mesh.forget()
        for payload in numbers(1...200) { mesh.send(payload, from: 0, to: "bob") }
        mesh.reset(0, 1)
        for payload in numbers(201...210) { mesh.send(payload, from: 0, to: "bob") }
        mesh.run(for: .milliseconds(60))
        #expect(mesh.payloads(at: 1) == numbers(1...210))
        #expect(mesh.hosts[0].node.counters[.retransmitted] >= 200)
        #expect(mesh.reports == [])
    }

    @Test func `more than a burst recovers in bursts that grow`() {
        let mesh = SmallMesh(3)
        mesh.attach("bob", at: 1)
        mesh.forget()
        let count = 2_000
        for number in 1...count {
            let payload = numbers(number...number)[0] + [UInt8](repeating: 0, count: 500)
            mesh.send(payload, from: 0, to: "bob")
        }
        mesh.reset(0, 1)
        let before = mesh.sentCount[0]
        mesh.run(for: .microseconds(500))
        #expect(mesh.sentCount[0] - before < 140)
        mesh.run(for: .milliseconds(100))
        #expect(mesh.payloads(at: 1).map { Array($0[..<2]) } == numbers(1...count))
        #expect(mesh.hosts[0].node.flowSizes().retainedCount == 0)
    }

    @Test func `a heavy loss is recovered from`() {
        let mesh = pairWithBob()
        var random = RandomSource(seed: 5)
        mesh.judge = { _, _, frame in
            if case .other = classify(frame) { return .pass }
            let die = random.next(below: 10)
            return die < 3
                ? .drop : die == 3 ? .double : die == 4 ? .delay(.milliseconds(7)) : .pass
        }
        for round in 0..<20 {
            for payload in numbers(round * 50 + 1...round * 50 + 50) {
                mesh.send(payload, from: 0, to: "bob")
            }
            mesh.run(for: .milliseconds(20))
        }
        mesh.run(for: .seconds(20))
        #expect(mesh.payloads(at: 1) == numbers(1...1_000))
        #expect(mesh.hosts[0].node.counters[.protocolErrors] == 0)
        #expect(mesh.hosts[1].node.counters[.protocolErrors] == 0)
    }

    @Test func `a channel's message to several nodes is kept for each, and the bytes once`() {
        let mesh = SmallMesh(5)
        let name = Array("news".utf8)
        let key = mesh.hasher.key(.channel, name)
        for host in 1...4 { mesh.handle(host, .directory(key, .add)) }
        mesh.run(for: .milliseconds(100))
        mesh.judge = { _, to, frame in
            if case .message = classify(frame), to == 3 { .drop } else { .pass }
        }
        let payload = [UInt8](repeating: 9, count: 60_000)
        let message = OutgoingMessage(
            .channel, key, name: Slice(start: 0, count: 4),
            payload: Slice(start: 4, count: payload.count))
        let count = mesh.publish(0, message, name + payload)
        #expect(count == 4)
        #expect(mesh.hosts[0].node.flowSizes().retainedBytes < 61_000)
        mesh.run(for: .milliseconds(100))
        #expect(mesh.deliveries.count == 3)
        #expect(mesh.hosts[0].node.flowSizes().retainedCount == 1)
        mesh.judge = { _, _, _ in .pass }
        mesh.run(for: .seconds(1))
        #expect(mesh.deliveries.count == 4)
        #expect(mesh.deliveries.allSatisfy { $0.payload == payload })
        #expect(mesh.hosts[0].node.flowSizes().retainedBytes == 0)
    }

    @Test func `a volatile message is sent once and never kept`() {
        let mesh = pairWithBob()
        mesh.judge = { _, _, frame in
            frame[4] == 2 && frame[5] & FrameFlags.volatile.rawValue != 0 && frame.last == 1
                ? .drop : .pass
        }
        mesh.send([1], from: 0, to: "bob", isVolatile: true)
        mesh.send([2], from: 0, to: "bob", isVolatile: true)
        mesh.send([3], from: 0, to: "bob")
        mesh.run(for: .seconds(2))
        #expect(mesh.payloads(at: 1) == [[2], [3]])
        #expect(mesh.hosts[0].node.counters[.retransmitted] == 0)
    }

    // MARK: Names

    @Test func `a message has one number on every way, however often it is sent`() {
        let mesh = SmallMesh(4)
        mesh.attach("bob", at: 1)
        mesh.attach("bob", at: 2)
        mesh.attach("cid", at: 3)
        mesh.forget()
        var random = RandomSource(seed: 8)
        mesh.judge = { _, to, frame in
            if case .message = classify(frame), to != 3, random.next(below: 2) == 0 {
                .drop
            } else {
                .pass
            }
        }
        let origin = mesh.hosts[0].node.id
        let first = mesh.hosts[0].node.flows.lastNumber
        for number in 1...40 {
            mesh.send([UInt8(number)], from: 0, to: number % 4 == 0 ? "cid" : "bob")
        }
        mesh.send([41], from: 0, to: "bob", isVolatile: true)
        mesh.run(for: .seconds(20))
        let retransmitted = mesh.hosts[0].node.counters[.retransmitted]
        #expect(retransmitted > 5)
        for (delivery, id) in zip(mesh.deliveries, mesh.identities) {
            #expect(id.origin == origin && id.number == first + UInt32(delivery.payload[0]))
        }
        #expect(mesh.deliveries.count >= 70)
        // A message that waits for a user keeps its number as well.
        mesh.judge = { _, _, _ in .pass }
        mesh.crash(3)
        mesh.run(for: .seconds(1))
        mesh.forget()
        mesh.send([1], from: 0, to: "cid")
        mesh.send([2], from: 0, to: "bob")
        mesh.send([3], from: 0, to: "cid")
        mesh.run(for: .seconds(1))
        mesh.attach("cid", at: 0)
        let expected = [2, 2, 1, 3].map { MessageID(origin: origin, number: first + 41 + $0) }
        #expect(mesh.identities == expected)
    }

    // MARK: Bounds

    @Test func `that a flow is full can be asked before a message is taken`() {
        let mesh = SmallMesh(3) { $0.flows.windowBytes = 64 * 1024 }
        mesh.attach("bob", at: 1)
        mesh.attach("cid", at: 2)
        mesh.attach("all", at: 1)
        mesh.attach("all", at: 2)
        mesh.forget()
        mesh.judge = { _, to, frame in
            if case .message = classify(frame), to == 1 { .drop } else { .pass }
        }
        while !mesh.isCongested {
            mesh.send([UInt8](repeating: 1, count: 1_000), from: 0, to: "bob")
        }
        let flow = mesh.congestion
        let isAny = mesh.hosts[0].node.hasCongestion
        #expect(flow != nil && isAny)
        for (user, expected) in [("bob", flow), ("cid", nil), ("all", flow), ("nobody", nil)] {
            let found = mesh.congestion(of: user, at: 0)
            #expect(found == expected, "\(user)")
        }
        mesh.judge = { _, _, _ in .pass }
        mesh.run(for: .seconds(2))
        let isLeft = mesh.hosts[0].node.hasCongestion
        let found = mesh.congestion(of: "all", at: 0)
        #expect(!isLeft && found == nil)
        // A node that dies takes its congestion with it.
        mesh.forget()
        mesh.judge = { _, _, frame in
            if case .message = classify(frame) { .drop } else { .pass }
        }
        while !mesh.isCongested {
            mesh.send([UInt8](repeating: 1, count: 1_000), from: 0, to: "bob")
        }
        mesh.crash(1)
        mesh.run(for: .seconds(2))
        let isOver = !mesh.hosts[0].node.hasCongestion
        #expect(isOver && mesh.uncongestedCount > 0)
    }

    /// All nodes send to the next one more than fits, and half of it gets lost. Who is congested
    /// waits until its flow is not.
    @Test(arguments: [2, 3, 5]) func `a cycle of full windows drains`(_ count: Int) {
        let mesh = SmallMesh(count) { $0.flows.windowBytes = 64 * 1024 }
        for host in 0..<count { mesh.attach("user\(host)", at: host) }
        mesh.forget()
        var random = RandomSource(seed: UInt64(count))
        mesh.judge = { _, _, frame in
            if case .message = classify(frame), random.next(below: 2) == 0 { .drop } else { .pass }
        }
        let total = 300
        var sent = [Int](repeating: 0, count: count)
        var waits = [Int](repeating: 0, count: count)
        var full = [Congestion?](repeating: nil, count: count)
        let start = mesh.now
        while sent.contains(where: { $0 < total }), mesh.now - start < .seconds(600) {
            for host in 0..<count {
                if let full = full[host], mesh.hosts[host].node.isCongested(full) { continue }
                full[host] = nil
                while sent[host] < total, full[host] == nil {
                    var payload = [UInt8](repeating: 0, count: 1_000)
                    payload[0] = UInt8(sent[host] & 0xFF)
                    payload[1] = UInt8(sent[host] >> 8)
                    mesh.send(payload, from: host, to: "user\((host + 1) % count)")
                    sent[host] += 1
                    full[host] = mesh.congestion
                }
                if full[host] != nil { waits[host] += 1 }
            }
            mesh.run(for: .milliseconds(5))
        }
        mesh.judge = { _, _, _ in .pass }
        mesh.run(for: .seconds(10))
        #expect(waits.allSatisfy { $0 > 1 }, "\(waits)")
        #expect(mesh.reports == [])
        for host in 0..<count {
            let got = mesh.payloads(at: host).map { Int($0[0]) | Int($0[1]) << 8 }
            #expect(got == Array(0..<total))
            #expect(mesh.hosts[host].node.flowSizes().congested == 0)
        }
    }

    @Test func `a full window congests, and half of it relieves`() {
        let mesh = pairWithBob {
            $0.flows.windowBytes = 64 * 1024
        }
        var isClosed = true
        mesh.judge = { _, _, frame in
            if classify(frame) == .acknowledge, isClosed { .drop } else { .pass }
        }
        var taken = 0
        while !mesh.isCongested {
            mesh.send([UInt8](repeating: 1, count: 1_000), from: 0, to: "bob")
            taken += 1
        }
        #expect(taken > 60 && taken < 70)
        #expect(mesh.uncongestedCount == 0)
        #expect(mesh.hosts[0].node.flowSizes().congested == 1)
        // Nobody listens: twice the window is the end.
        while mesh.reports.isEmpty {
            mesh.send([UInt8](repeating: 1, count: 1_000), from: 0, to: "bob", sender: 4)
            taken += 1
        }
        #expect(taken > 120 && taken < 135)
        #expect(mesh.reports == [.init(host: 0, sender: 4, count: 1, name: "bob")])
        isClosed = false
        mesh.run(for: .seconds(3))
        #expect(mesh.uncongestedCount == 1)
        #expect(mesh.hosts[0].node.flowSizes().congested == 0)
        #expect(mesh.payloads(at: 1).count == taken - 1)
    }

    @Test func `all flows together are bounded, and a large message alone is not`() {
        let mesh = SmallMesh(3) { $0.flows.totalBytes = 100_000 }
        mesh.attach("bob", at: 1)
        mesh.attach("cid", at: 2)
        mesh.forget()
        mesh.judge = { _, _, frame in
            if case .message = classify(frame) { .drop } else { .pass }
        }
        let large = [UInt8](repeating: 1, count: 150_000)
        #expect(mesh.send(large, from: 0, to: "bob") == 1)
        #expect(mesh.isCongested)
        #expect(mesh.send(large, from: 0, to: "cid") == 1)
        #expect(mesh.send([1], from: 0, to: "bob") == 0)
        #expect(mesh.reports.count == 1)
        mesh.judge = { _, _, _ in .pass }
        mesh.run(for: .seconds(2))
        #expect(mesh.uncongestedCount > 0)
        #expect(mesh.deliveries.count == 2)
        #expect(mesh.hosts[0].node.flowSizes().retainedBytes == 0)
    }

    @Test func `a destination keeps no more than its window behind a gap`() {
        let mesh = pairWithBob { $0.flows.reorderCount = 16 }
        var isLossy = true
        mesh.judge = { _, _, frame in
            classify(frame) == .message(sequence: 1) && isLossy ? .drop : .pass
        }
        for payload in numbers(1...40) { mesh.send(payload, from: 0, to: "bob") }
        mesh.run(for: .milliseconds(3))
        #expect(mesh.hosts[1].node.counters[.reordered] == 15)
        #expect(mesh.hosts[1].node.counters[.droppedBeyondWindow] == 24)
        isLossy = false
        mesh.run(for: .seconds(2))
        #expect(mesh.payloads(at: 1) == numbers(1...40))
    }
}
