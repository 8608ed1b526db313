import MeshWire
import Testing

@testable import MeshCore

/// A record that is lost once more is repaired in its own time, by what is there for it: not later, by whatever
/// finds it besides.
@Suite struct RepetitionTests {
    @Test func `a gap of which the origin has not heard is told again before the flow times out`() {
        let mesh = SmallMesh(2)
        mesh.attach("bob", at: 1)
        mesh.forget()
        var lost: [FrameKindOfTest] = []
        mesh.judge = { _, _, frame in
            let kind = classify(frame)
            let isFirst = kind == .message(sequence: 1) || kind == .acknowledge
            guard isFirst, !lost.contains(kind) else { return .pass }
            lost.append(kind)
            return .drop
        }
        for payload in numbers(1...2) { mesh.send(payload, from: 0, to: "bob") }
        let timing = mesh.hosts[0].node.configuration.timing
        mesh.run(for: timing.gap + timing.gapRepeat + .milliseconds(15))
        #expect(lost == [.message(sequence: 1), .acknowledge])
        #expect(mesh.payloads(at: 1) == numbers(1...2))
        #expect(mesh.hosts[0].node.counters[.retransmitted] == 1)
    }

    @Test(arguments: 2...4)
    func `flows with something to tell at different times are each told of in time`(count: Int) {
        let mesh = SmallMesh(count + 1)
        for host in 1...count { mesh.attach("user\(host)", at: host) }
        mesh.attach("bob", at: 0)
        mesh.run(for: .seconds(1))
        mesh.forget()
        for host in 1...count {
            mesh.send([1], from: host, to: "bob")
            mesh.run(for: .milliseconds(7))
        }
        // Two ways of a millisecond each, and the time that acknowledgements wait.
        mesh.run(for: mesh.hosts[0].node.configuration.timing.acknowledgement + .milliseconds(3))
        for host in 1...count {
            #expect(mesh.hosts[host].node.flowSizes().retainedCount == 0, "\(host)")
        }
    }

    @Test func `queries that are not answered end one after the other, each in its time`() {
        let mesh = SmallMesh(3)
        mesh.judge = { from, _, frame in
            from == 2 && frame[4] == FrameKind.routed.rawValue ? .drop : .pass
        }
        let patience = mesh.hosts[0].node.configuration.timing.query
        for number in 1...3 {
            mesh.handle(0, .query(QueryID(UInt32(number)), .everyone(subject: .empty)))
            mesh.run(for: .milliseconds(100))
        }
        var open: [Int] = []
        mesh.run(for: patience - .milliseconds(300) + .milliseconds(5))
        for _ in 1...3 {
            open.append(mesh.hosts[0].node.queries.count)
            mesh.run(for: .milliseconds(100))
        }
        #expect(open == [2, 1, 0])
    }

    @Test
    func `a skip goes before the next message, in every way of sending`() {
        for way in ["to one", "to several", "late"] {
            let mesh = SmallMesh(4)
            mesh.attach("bob", at: 1)
            mesh.send([1], from: 0, to: "bob")
            mesh.run(for: .milliseconds(100))
            mesh.judge = { from, to, _ in from == 1 || to == 1 ? .drop : .pass }
            mesh.send([2], from: 0, to: "bob", sender: 5)
            mesh.run(for: .seconds(12))
            #expect(mesh.reports.map(\.count) == [1], "\(way)")
            // It comes back, and has had no reason to ask yet.
            var come: [FrameKindOfTest] = []
            mesh.judge = { from, to, frame in
                let kind = classify(frame)
                if from == 0, to == 1, kind != .other, kind != .acknowledge { come.append(kind) }
                return .pass
            }
            if way == "late" {
                // The user is nowhere when the message is sent, and back with its node.
                mesh.send([3], from: 0, to: "bob")
                #expect(mesh.isHeld)
            }
            if way == "to several" { mesh.attach("bob", at: 2) }
            mesh.run(for: .seconds(20))
            if way != "late" { mesh.send([3], from: 0, to: "bob") }
            mesh.run(for: .milliseconds(100))
            #expect(come.first == .skip, "\(way): \(come)")
            #expect(mesh.payloads(at: 1) == [[1], [3]], "\(way)")
        }
    }

    @Test func `a flow whose waiting messages were dropped lacks nothing until it sends again`() {
        var flow = IncomingFlow(from: NodeID(7), at: Instant(nanoseconds: 0))
        for _ in 0..<3 { flow.pass() }
        let message = ReorderedMessage(
            content: .message(.user), key: Key(1), number: 6, hops: 1, nameCount: 0, bytes: [1])
        flow.highest = 6
        flow.wait(message, ahead: 2, capacity: 8)
        #expect(flow.hasGap && flow.missing == 2)
        flow.dropWaiting()
        let (hasGap, missing, count, bytes) = (
            flow.hasGap, flow.missing, flow.waitingCount, flow.waitingBytes
        )
        #expect(!hasGap && missing == 0 && count == 0 && bytes == 0)
        #expect(flow.expected == 4)
        // The next in order closes nothing and opens nothing.
        flow.pass()
        let hasGapNow = flow.hasGap
        #expect(!hasGapNow)
    }

    @Test func `a window that was halved grows back with what is acknowledged`() throws {
        let least = 64 * 1024
        let mesh = SmallMesh(2) { $0.flows.windowBytes = 4 * 64 * 1024 }
        mesh.attach("bob", at: 1)
        mesh.judge = { _, to, frame in
            if case .message = classify(frame), to == 1 { .drop } else { .pass }
        }
        mesh.send([1], from: 0, to: "bob")
        mesh.run(for: .seconds(3))
        func window() -> Int {
            let node = mesh.hosts[0].node.members.index(of: mesh.hosts[1].node.id)!
            let flow = mesh.hosts[0].node.flows.flow(to: node)
            return mesh.hosts[0].node.flows.outgoing[flow].window
        }
        #expect(window() == least)
        mesh.judge = { _, _, _ in .pass }
        mesh.run(for: .seconds(3))
        // By as much as is sent at once for each window that is acknowledged; never beyond the bound.
        for round in 1...20 {
            let before = window()
            for _ in 0..<16 { mesh.send([UInt8](repeating: 0, count: 4_000), from: 0, to: "bob") }
            mesh.run(for: .milliseconds(200))
            let after = window()
            #expect(after > before || before == 4 * least, "\(round): \(before)")
            #expect(after <= before + 16 * 4_100 && after <= 4 * least)
        }
        #expect(window() == 4 * least)
    }

    @Test func `a member back from a false death is sent to with the usual patience`() {
        let mesh = SmallMesh(3)
        mesh.attach("bob", at: 1)
        mesh.judge = { from, to, _ in from == 1 || to == 1 ? .drop : .pass }
        mesh.send([2], from: 0, to: "bob")
        mesh.run(for: .seconds(12))
        mesh.judge = { _, _, _ in .pass }
        mesh.run(for: .seconds(15))
        var isLost = false
        mesh.judge = { _, to, frame in
            guard case .message = classify(frame), to == 1, !isLost else { return .pass }
            isLost = true
            return .drop
        }
        mesh.send([3], from: 0, to: "bob")
        mesh.run(for: mesh.hosts[0].node.configuration.timing.retransmit + .milliseconds(50))
        #expect(isLost)
        #expect(mesh.payloads(at: 1) == [[3]])
    }

    /// An acknowledgement ends the long wait of a flow, and brings its timer forward.
    @Test func `a message lost after a long wait is sent again as soon as any other`() {
        let mesh = SmallMesh(2)
        mesh.attach("bob", at: 1)
        let timing = mesh.hosts[0].node.configuration.timing
        var lost: Set<UInt32> = [1]
        mesh.judge = { _, to, frame in
            guard to == 1, case .message(let sequence) = classify(frame) else { return .pass }
            return lost.contains(sequence) ? .drop : .pass
        }
        mesh.send([1], from: 0, to: "bob")
        // It is sent again after one, three and seven times the least wait; the next is twice as long.
        mesh.run(for: timing.retransmit * 6)
        lost = [3]
        mesh.run(for: timing.retransmit + .milliseconds(50))
        #expect(mesh.payloads(at: 1) == [[1]])
        mesh.send([2], from: 0, to: "bob")
        mesh.send([3], from: 0, to: "bob")
        mesh.run(for: .milliseconds(5))
        lost = []
        mesh.run(for: timing.acknowledgement + timing.retransmit + .milliseconds(30))
        #expect(mesh.payloads(at: 1) == [[1], [2], [3]])
    }

    @Test func `a user who goes twice is waited for from the second time on`() {
        let mesh = SmallMesh(5)
        let grace = mesh.hosts[0].node.configuration.timing.reattachGrace
        mesh.attach("bob", at: 1)
        mesh.crash(1)
        mesh.run(for: .seconds(3))
        mesh.attach("bob", at: 2)
        mesh.run(for: .seconds(2))
        mesh.crash(2)
        mesh.run(for: grace - .seconds(2))
        // The first time is over, the second is not.
        #expect(mesh.send([1], from: 0, to: "bob") == 0)
        #expect(mesh.isHeld)
        mesh.attach("bob", at: 3)
        mesh.run(for: .seconds(1))
        #expect(mesh.payloads(at: 3) == [[1]])
    }

    @Test func `the place of a forgotten flow is another's when nobody names it any more`() {
        var flows = Flows()
        let start = Instant(nanoseconds: 0)
        let flow = flows.open(from: NodeID(1), MemberIndex(1), at: start)
        flows.incoming[flow].isListed = true
        flows.due.append(flow)
        flows.forget(MemberIndex(1), NodeID(1))
        let other = flows.open(from: NodeID(2), MemberIndex(2), at: start)
        #expect(other != flow)
        flows.unlist(flow)
        #expect(flows.open(from: NodeID(3), MemberIndex(3), at: start) == flow)
        // One that is not listed is free at once.
        flows.forget(MemberIndex(2), NodeID(2))
        #expect(flows.open(from: NodeID(4), MemberIndex(4), at: start) == other)
    }

    @Test func `each repair that does not come is asked for again, however many there are`() {
        let mesh = SmallMesh(4)
        var lostChanges: Set<Int> = []
        var milliseconds = 0
        var asked: [NodeID: [Int]] = [:]
        mesh.judge = { from, to, frame in
            if frame[4] == FrameKind.arc.rawValue, to == 0 {
                return lostChanges.contains(from) ? .drop : .pass
            }
            // Its origin does not send it again either.
            if to == 0, Self.isRecordsSentDirectly(frame) { return .drop }
            guard from == 0, frame[4] == FrameKind.link.rawValue,
                case .repair(let requests) = try? Message.decode(
                    frame.span, from: Frame.prefixSize, to: frame.count)
            else { return .pass }
            for request in requests { asked[request.origin, default: []].append(milliseconds) }
            return .drop
        }
        for host in 1...3 {
            // The first change is lost, and the second shows it.
            lostChanges = [1, 2, 3]
            mesh.attach("first\(host)", at: host)
            lostChanges = []
            mesh.handle(host, .directory(mesh.key("second\(host)"), .add))
            for _ in 1...(host == 3 ? 3_000 : 150) {
                mesh.run(for: .milliseconds(1))
                milliseconds += 1
            }
        }
        for host in mesh.ids(1..<4) {
            let times = asked[host] ?? []
            #expect(times.count >= 6)
            let pauses = zip(times.dropFirst(), times).map { $0 - $1 }
            #expect(pauses.allSatisfy { $0 <= Int(Node.repairPatience.milliseconds) + 1 })
        }
    }

    private static func isRecordsSentDirectly(_ frame: [UInt8]) -> Bool {
        guard frame[4] == FrameKind.routed.rawValue, frame[7] == RoutedBody.control.rawValue else {
            return false
        }
        return frame[Frame.routedHeaderSize + Frame.destinationSize]
            == Message.Number.records.rawValue
    }

    /// Karn: nobody knows to which of two copies an acknowledgement belongs.
    @Test func `the round trip of a message that was sent again is not measured`() {
        let mesh = SmallMesh(2)
        mesh.attach("bob", at: 1)
        func roundTrip() -> Delay {
            let node = mesh.hosts[0].node.members.index(of: mesh.hosts[1].node.id)!
            let flow = mesh.hosts[0].node.flows.flow(to: node)
            return mesh.hosts[0].node.flows.outgoing[flow].roundTrip
        }
        mesh.send([1], from: 0, to: "bob")
        mesh.run(for: .milliseconds(100))
        let before = roundTrip()
        #expect(before > .zero && before < .milliseconds(30))
        for number in 2...4 as ClosedRange<UInt8> {
            var isLost = false
            mesh.judge = { _, _, frame in
                guard case .message = classify(frame), !isLost else { return .pass }
                isLost = true
                return .drop
            }
            mesh.send([number], from: 0, to: "bob")
            mesh.run(for: .seconds(1))
        }
        #expect(mesh.payloads(at: 1) == [[1], [2], [3], [4]])
        #expect(roundTrip() == before)
    }

    @Test func `changes that follow each other within a moment travel together`() {
        let mesh = SmallMesh(3)
        mesh.run(for: .seconds(1))
        var frameCount = 0
        var isSilent = true
        mesh.judge = { from, to, frame in
            if from == 0, to == 1, frame[4] == FrameKind.arc.rawValue { frameCount += 1 }
            let isKnown =
                frame[4] == FrameKind.link.rawValue
                && frame[Frame.prefixSize] == Message.Number.recordsKnown.rawValue
            return isKnown && isSilent ? .drop : .pass
        }
        for number in 1...20 {
            mesh.handle(0, .directory(mesh.key("user\(number)"), .add))
            mesh.run(for: .milliseconds(1))
        }
        mesh.run(for: .milliseconds(20))
        #expect(mesh.hosts[1].node.tableSizes().entries == 20)
        // The first at once, the others after each `Timing.batch`.
        #expect(frameCount >= 2 && frameCount <= 4)
        // As often as the news goes there and back, where it is acknowledged.
        isSilent = false
        mesh.run(for: .seconds(1))
        frameCount = 0
        for number in 21...40 {
            mesh.handle(0, .directory(mesh.key("user\(number)"), .add))
            mesh.run(for: .milliseconds(1))
        }
        #expect(frameCount >= 8)
    }

    @Test func `a message that reaches a node in its last moment is acknowledged`() {
        let mesh = SmallMesh(3)
        mesh.attach("bob", at: 1)
        mesh.forget()
        let timing = mesh.hosts[0].node.configuration.timing
        mesh.judge = { _, _, frame in
            guard case .message = classify(frame) else { return .pass }
            // It has a millisecond's way besides.
            return .delay(timing.departure - .milliseconds(4))
        }
        mesh.send([1], from: 0, to: "bob", sender: 5)
        mesh.leave(1)
        mesh.run(for: .seconds(3))
        #expect(mesh.payloads(at: 1) == [[1]])
        #expect(mesh.reports == [])
    }

    @Test func `messages that wait behind a gap are given up with their dead origin`() {
        let mesh = SmallMesh(3)
        mesh.attach("bob", at: 1)
        mesh.judge = { _, _, frame in classify(frame) == .message(sequence: 1) ? .drop : .pass }
        for payload in numbers(1...3) { mesh.send(payload, from: 0, to: "bob") }
        mesh.run(for: .milliseconds(2))
        #expect(mesh.hosts[1].node.flowSizes().reorderedBytes > 0)
        mesh.crash(0)
        mesh.run(for: .seconds(1))
        #expect(mesh.hosts[1].node.counters[.deaths] == 1)
        #expect(mesh.hosts[1].node.flowSizes().reorderedBytes == 0)
    }
}
