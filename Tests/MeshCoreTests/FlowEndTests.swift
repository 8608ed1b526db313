import MeshWire
import Testing

@testable import MeshCore

/// Flows whose other end dies, leaves, comes back or lies.
@Suite struct FlowEndTests {
    // MARK: Death

    @Test func `messages that a dead node has not acknowledged are reported in runs`() {
        let mesh = SmallMesh(3)
        mesh.attach("bob", at: 1)
        mesh.attach("cid", at: 1)
        mesh.judge = { _, to, frame in
            if case .message = classify(frame), to == 1 { .drop } else { .pass }
        }
        for _ in 0..<3 { mesh.send([1], from: 0, to: "bob", sender: 8) }
        mesh.send([1], from: 0, to: "cid", sender: 8)
        mesh.send([1], from: 0, to: "cid", sender: 9)
        mesh.crash(1)
        mesh.run(for: .seconds(2))
        #expect(
            mesh.reports == [
                .init(host: 0, sender: 8, count: 3, name: "bob"),
                .init(host: 0, sender: 8, count: 1, name: "cid"),
                .init(host: 0, sender: 9, count: 1, name: "cid"),
            ])
        #expect(mesh.hosts[0].node.counters[.undelivered] == 5)
        #expect(mesh.hosts[0].node.flowSizes().retainedBytes == 0)
    }

    @Test func `after a false death what was given up is skipped, and the rest comes once`() {
        let mesh = SmallMesh(3)
        mesh.attach("bob", at: 1)
        mesh.send([1], from: 0, to: "bob")
        mesh.run(for: .milliseconds(50))
        // Nobody hears the node, which lives on.
        mesh.judge = { from, to, _ in from == 1 || to == 1 ? .drop : .pass }
        mesh.send([2], from: 0, to: "bob", sender: 5)
        mesh.send([3], from: 0, to: "bob", sender: 5)
        mesh.run(for: .seconds(12))
        #expect(mesh.reports == [.init(host: 0, sender: 5, count: 2, name: "bob")])
        mesh.judge = { _, _, _ in .pass }
        mesh.run(for: .seconds(15))
        #expect(mesh.hosts[0].node.tableSizes().members == 3)
        #expect(mesh.send([4], from: 0, to: "bob") == 1)
        mesh.run(for: .milliseconds(100))
        #expect(mesh.payloads(at: 1) == [[1], [4]])
        #expect(mesh.gaps == [2])
        #expect(mesh.hosts[1].node.counters[.gaps] == 2)
        #expect(mesh.hosts[0].node.counters[.protocolErrors] == 0)
    }

    @Test func `a skip that is lost is asked for`() {
        let mesh = SmallMesh(3)
        mesh.attach("bob", at: 1)
        mesh.judge = { from, to, _ in from == 1 || to == 1 ? .drop : .pass }
        mesh.send([2], from: 0, to: "bob")
        mesh.run(for: .seconds(12))
        var skips = 0
        mesh.judge = { _, _, frame in
            guard classify(frame) == .skip else { return .pass }
            skips += 1
            return skips == 1 ? .drop : .pass
        }
        mesh.run(for: .seconds(15))
        mesh.send([4], from: 0, to: "bob")
        mesh.run(for: .milliseconds(300))
        #expect(skips >= 2)
        #expect(mesh.payloads(at: 1) == [[4]])
    }

    @Test func `a node that leaves has its messages acknowledged first`() {
        let mesh = SmallMesh(3)
        mesh.attach("bob", at: 1)
        mesh.forget()
        var isLossy = true
        mesh.judge = { from, _, frame in
            if case .message = classify(frame), from == 0, isLossy { .drop } else { .pass }
        }
        for payload in numbers(1...5) { mesh.send(payload, from: 0, to: "bob") }
        mesh.leave(0)
        mesh.run(for: .milliseconds(160))
        isLossy = false
        mesh.run(for: .seconds(2))
        #expect(mesh.payloads(at: 1) == numbers(1...5))
        let isUp = mesh.hosts[0].isUp
        #expect(!isUp)
        #expect(mesh.reports == [])
    }

    @Test func `a leaving node acknowledges what has reached it`() {
        let mesh = SmallMesh(3)
        mesh.attach("bob", at: 1)
        mesh.forget()
        for payload in numbers(1...5) { mesh.send(payload, from: 0, to: "bob") }
        mesh.leave(1)
        mesh.run(for: .seconds(3))
        #expect(mesh.payloads(at: 1) == numbers(1...5))
        #expect(mesh.hosts[0].node.flowSizes().retainedCount == 0)
        #expect(mesh.reports == [])
    }

    // MARK: Grace

    @Test func `messages wait for a user whose node has died`() {
        let mesh = SmallMesh(4)
        mesh.attach("bob", at: 1)
        mesh.crash(1)
        mesh.run(for: .seconds(1))
        #expect(mesh.send([1], from: 0, to: "bob") == 0)
        #expect(mesh.isHeld)
        mesh.send([2], from: 0, to: "bob")
        mesh.send([3], from: 2, to: "bob")
        #expect(mesh.hosts[0].node.flowSizes().parkedCount == 2)
        mesh.run(for: .seconds(3))
        mesh.attach("bob", at: 2)
        mesh.run(for: .seconds(1))
        #expect(mesh.payloads(at: 2) == [[3], [1], [2]])
        #expect(mesh.hosts[0].node.flowSizes().parkedBytes == 0)
        #expect(mesh.reports == [])
        #expect(mesh.send([4], from: 0, to: "bob") == 1)
    }

    @Test func `a user who does not come back is reported`() {
        let mesh = SmallMesh(3)
        mesh.attach("bob", at: 1)
        mesh.crash(1)
        mesh.run(for: .seconds(1))
        mesh.send([1], from: 0, to: "bob", sender: 3)
        mesh.run(for: .seconds(8))
        #expect(mesh.reports == [])
        mesh.run(for: .seconds(2))
        #expect(mesh.reports == [.init(host: 0, sender: 3, count: 1, name: "bob")])
        mesh.send([2], from: 0, to: "bob", sender: 3)
        #expect(!mesh.isHeld)
        // Somebody who was never there is not waited for, nor who has gone by himself.
        mesh.send([2], from: 0, to: "eve", sender: 3)
        #expect(!mesh.isHeld)
        mesh.attach("eve", at: 2)
        mesh.detach("eve", at: 2)
        mesh.send([2], from: 0, to: "eve", sender: 3)
        #expect(!mesh.isHeld)
    }

    @Test func `a user who has come back and left in order is nowhere`() {
        let mesh = SmallMesh(3)
        mesh.attach("ann", at: 1)
        mesh.crash(1)
        mesh.run(for: .seconds(1))
        mesh.send([1], from: 0, to: "ann")
        #expect(mesh.isHeld)
        mesh.attach("ann", at: 2)
        #expect(mesh.payloads(at: 2) == [[1]])
        mesh.detach("ann", at: 2)
        let count = mesh.send([2], from: 0, to: "ann")
        #expect(count == 0)
        #expect(!mesh.isHeld)
    }

    @Test func `messages waiting for users are bounded`() {
        let mesh = SmallMesh(3) {
            $0.flows.parkedCount = 10
            $0.flows.parkedTotalBytes = 10_000
        }
        mesh.attach("bob", at: 1)
        mesh.attach("cid", at: 1)
        mesh.crash(1)
        mesh.run(for: .seconds(1))
        for _ in 0..<11 { mesh.send([1], from: 0, to: "bob", sender: 3) }
        #expect(mesh.reports.count == 1)
        mesh.send([UInt8](repeating: 1, count: 20_000), from: 0, to: "cid", sender: 4)
        #expect(mesh.reports.count == 2)
        #expect(mesh.hosts[0].node.flowSizes().parkedCount == 10)
    }

    // MARK: Hostile peers

    /// A control message that pretends to come from host 1.
    private func forged(_ message: Message, to host: Int, _ mesh: SmallMesh) -> [UInt8] {
        var queue = ByteQueue()
        queue.appendRoutedHeader(
            length: 0, [], hopsLeft: 3, body: RoutedBody.control.rawValue,
            origin: mesh.hosts[1].node.id, key: Key(0), destinationCount: 1, number: 0,
            nameLength: 0, hopsTaken: 0)
        queue.append(Destination(id: mesh.hosts[host].node.id, sequence: 0, potential: 0))
        queue.append(message)
        queue.overwrite(integer: UInt32(queue.count), at: 0)
        return queue.withSpan { $0.array(Slice(start: 0, count: $0.count)) }
    }

    @Test(arguments: [
        Acknowledgement(cumulative: 6, missing: 0),
        Acknowledgement(cumulative: .max / 2, missing: 0),
        Acknowledgement(cumulative: 2, missing: 4), Acknowledgement(cumulative: 0, missing: .max),
    ])
    func `an acknowledgement of what was never sent is counted and ignored`(
        forgery: Acknowledgement
    ) {
        let mesh = pairWithBob()
        mesh.judge = { _, _, frame in
            if case .message = classify(frame) { .drop } else { .pass }
        }
        for payload in numbers(1...5) { mesh.send(payload, from: 0, to: "bob") }
        mesh.inject(forged(.acknowledge(forgery), to: 0, mesh), to: 0, from: 1)
        #expect(mesh.hosts[0].node.counters[.protocolErrors] == 1)
        #expect(mesh.hosts[0].node.tableSizes().links == 1)
    }

    @Test func `a gap that is complained about again and again is answered in measure`() {
        let mesh = pairWithBob()
        mesh.judge = { _, _, frame in
            if case .message = classify(frame) { .drop } else { .pass }
        }
        for payload in numbers(1...5) { mesh.send(payload, from: 0, to: "bob") }
        for _ in 0..<1_000 {
            mesh.inject(
                forged(.acknowledge(Acknowledgement(cumulative: 0, missing: 5)), to: 0, mesh),
                to: 0, from: 1)
        }
        #expect(mesh.hosts[0].node.counters[.retransmitted] == 5)
        #expect(mesh.hosts[0].node.counters[.protocolErrors] == 0)
    }

    @Test func `a skip backwards changes nothing, one far ahead is counted`() {
        let mesh = pairWithBob()
        mesh.attach("ann", at: 0)
        for payload in numbers(1...5) { mesh.send(payload, from: 1, to: "ann") }
        mesh.run(for: .milliseconds(50))
        mesh.inject(forged(.skip(through: 3), to: 0, mesh), to: 0, from: 1)
        mesh.inject(forged(.skip(through: 1 << 30), to: 0, mesh), to: 0, from: 1)
        #expect(mesh.hosts[0].node.counters[.protocolErrors] == 1)
        mesh.send([9], from: 1, to: "ann")
        mesh.run(for: .milliseconds(50))
        #expect(mesh.payloads(at: 0) == numbers(1...5) + [[9]])
        #expect(mesh.gaps == [])
    }

    /// It waited for 40 s in a random scenario: each resend was known, and known ones did nothing.
    @Test func `a gap whose origin was dead when it was to be told is told once it sends again`() {
        let mesh = SmallMesh(3)
        mesh.attach("bob", at: 1)
        var origin = mesh.hosts[0].node.members[.oneself].record
        var message = ByteQueue()
        message.appendRoutedHeader(
            length: Frame.routedHeaderSize + Frame.destinationSize, [], hopsLeft: 3,
            body: RoutedBody.user.rawValue, origin: origin.id, key: mesh.key("bob"),
            destinationCount: 1, number: 1, nameLength: 0, hopsTaken: 0)
        message.append(Destination(id: mesh.hosts[1].node.id, sequence: 3, potential: 0))
        let bytes = message.withSpan { $0.array(Slice(start: 0, count: $0.count)) }

        mesh.crash(0)
        mesh.run(for: .seconds(6))
        mesh.inject(bytes, to: 1, from: 2)
        mesh.run(for: .milliseconds(50))
        #expect(mesh.hosts[1].node.counters[.reordered] == 1)
        #expect(mesh.hosts[1].node.counters[.acknowledgementsSent] == 0)

        origin.incarnation = origin.incarnation.next()
        var word = ByteQueue()
        _ = word.appendLinkFrame(.members([origin], isRepair: false))
        mesh.inject(
            word.withSpan { $0.array(Slice(start: 0, count: $0.count)) }, to: 1, from: 2)
        mesh.inject(bytes, to: 1, from: 2)
        mesh.run(for: .milliseconds(50))
        #expect(mesh.hosts[1].node.counters[.duplicates] == 1)
        #expect(mesh.hosts[1].node.counters[.acknowledgementsSent] == 1)
    }

    // MARK: Numbers

    @Test func `numbers wrap round at both ends`() {
        var flow = OutgoingFlow(
            to: MemberIndex(1), NodeID(1), after: .max - 2, window: 1 << 20, roundTrip: .zero,
            at: Instant(nanoseconds: 0))
        var retransmission = RetransmissionBuffer()
        let bytes = [UInt8](repeating: 0, count: 10)
        for _ in 0..<6 {
            retransmission.append(
                .user, Key(1), number: 7, name: Slice(start: 0, count: 2),
                payload: Slice(start: 2, count: 8), sender: 0, parcel: .none, copyCount: 1,
                bytes.span,
                to: &flow.queue)
            flow.last &+= 1
        }
        #expect(flow.last == 3 && flow.count == 6)
        #expect(flow.advance(to: .max) == 2)
        #expect(flow.advance(to: 1) == 4)
        #expect(flow.advance(to: .max - 3) == -1)
        flow.drop(4, &retransmission)
        #expect(flow.acknowledged == 1 && flow.count == 2)
        flow.drop(2, &retransmission)
        #expect(retransmission.byteCount == 0)

        var incoming = IncomingFlow(from: NodeID(1), at: Instant(nanoseconds: 0))
        incoming.expected = .max - 1
        incoming.highest = .max - 2
        func message(_ number: UInt8) -> ReorderedMessage {
            ReorderedMessage(
                content: .message(.user), key: Key(1), number: 0, hops: 1, nameCount: 0,
                bytes: [number])
        }
        #expect(incoming.distance(to: 2) == 4)
        for ahead in [4, 2, 3] {
            incoming.wait(message(UInt8(ahead)), ahead: ahead, capacity: 16)
        }
        incoming.highest = 2
        let isGap = incoming.hasGap
        let missing = incoming.missing
        #expect(isGap && missing == 2)
        incoming.pass()
        incoming.pass()
        var taken: [UInt8] = []
        while let next = incoming.takeNext() {
            taken += next.bytes
            incoming.pass()
        }
        #expect(taken == [2, 3, 4])
        let isDone = !incoming.hasGap && incoming.expected == 3 && incoming.waitingBytes == 0
        #expect(isDone)
    }

    @Test func `a flow that is taken up again after the destination has forgotten it goes on`() {
        let mesh = pairWithBob()
        for payload in numbers(1...5) { mesh.send(payload, from: 0, to: "bob") }
        mesh.run(for: .milliseconds(50))
        let origin = mesh.hosts[0].node.id
        let member = mesh.hosts[1].node.members.index(of: origin)!
        mesh.hosts[1].node.flows.forget(member, origin)
        for payload in numbers(6...9) { mesh.send(payload, from: 0, to: "bob") }
        mesh.run(for: .milliseconds(200))
        #expect(mesh.payloads(at: 1) == numbers(1...9))
        #expect(mesh.gaps == [])
    }

    @Test func `an origin that has forgotten a destination uses no number twice`() {
        let mesh = pairWithBob()
        for payload in numbers(1...5) { mesh.send(payload, from: 0, to: "bob") }
        mesh.run(for: .milliseconds(50))
        let destination = mesh.hosts[1].node.id
        let member = mesh.hosts[0].node.members.index(of: destination)!
        mesh.hosts[0].node.flows.forget(member, destination)
        for payload in numbers(6...9) { mesh.send(payload, from: 0, to: "bob") }
        mesh.run(for: .milliseconds(50))
        #expect(mesh.payloads(at: 1) == numbers(1...9))
    }

    /// A number of the upper half is behind 1, modulo 2^32.
    @Test(arguments: [1 << 24, 0x7FFF_FFFE, 0x8000_0000, 0xF000_0000, .max - 2] as [UInt32])
    func `a flow that is far on when the destination first hears of it loses nothing`(
        last: UInt32
    ) {
        let mesh = pairWithBob()
        let destination = mesh.hosts[1].node.id
        let member = mesh.hosts[0].node.members.index(of: destination)!
        let flow = mesh.hosts[0].node.outgoingFlow(to: member)
        mesh.hosts[0].node.flows.outgoing[flow].last = last
        mesh.hosts[0].node.flows.outgoing[flow].acknowledged = last
        for payload in numbers(1...5) { mesh.send(payload, from: 0, to: "bob") }
        mesh.run(for: .seconds(1))
        #expect(mesh.payloads(at: 1) == numbers(1...5))
        #expect(mesh.gaps == [])
        for host in 0..<2 { #expect(mesh.hosts[host].node.counters[.protocolErrors] == 0) }
        #expect(mesh.hosts[0].node.flowSizes().retainedCount == 0)
    }

    // MARK: Forgotten

    /// A peer that has not forgotten this node takes no number that is too far on.
    @Test func `one flow of many messages moves no other far on`() {
        var flows = Flows()
        for number in 0..<(Flows.formerCountMax + 10) {
            let flow = open(&flows, number, .messages)
            flows.outgoing[flow].last = number == 3 ? 3_000_000_000 : UInt32(number)
            flows.outgoing[flow].acknowledged = flows.outgoing[flow].last
            flows.forget(MemberIndex(number % 100 + 1), NodeID(UInt64(number) + 1))
        }
        var last: [UInt32] = []
        for number in [3, 20, Flows.formerCountMax - 1, Flows.formerCountMax + 20] {
            let flow = open(&flows, number, .messages)
            last.append(flows.outgoing[flow].last)
            flows.forget(MemberIndex(number % 100 + 1), NodeID(UInt64(number) + 1))
        }
        #expect(last[0] == 3_000_000_000)
        #expect(last[1] >= 20 && last[1] <= UInt32(Flows.formerCountMax))
        #expect(last[2] >= UInt32(Flows.formerCountMax - 1))
        #expect(last[2] <= UInt32(Flows.formerCountMax))
        #expect(last[3] == last[1])
    }

    private func open(_ flows: inout Flows, _ number: Int, _ lane: Lane) -> FlowIndex {
        flows.open(
            to: MemberIndex(number % 100 + 1), NodeID(UInt64(number) + 1), lane, window: 1,
            roundTrip: .zero, at: Instant(nanoseconds: 0))
    }

    /// It may have kept how far the flow was, and would take the same numbers for the same messages.
    @Test(arguments: [Lane.messages, .bulk], [10, Flows.formerCountMax + 10])
    func `to a member that was forgotten and is back numbers go on, however many were`(
        lane: Lane, count: Int
    ) {
        var flows = Flows()
        for number in 0..<count {
            let flow = open(&flows, number, lane)
            flows.outgoing[flow].last = UInt32(1_000 + number % 7)
            flows.outgoing[flow].acknowledged = flows.outgoing[flow].last
            flows.forget(MemberIndex(number % 100 + 1), NodeID(UInt64(number) + 1))
        }
        for number in [0, 5, count - 1] {
            let flow = open(&flows, number, lane)
            let last = flows.outgoing[flow].last
            #expect(last >= UInt32(1_000 + number % 7))
            #expect(last <= 1_006)
            flows.forget(MemberIndex(number % 100 + 1), NodeID(UInt64(number) + 1))
        }
        let flow = open(&flows, count + 7, lane)
        let last = flows.outgoing[flow].last
        #expect((last == 0) == (count < Flows.formerCountMax))
    }
}
