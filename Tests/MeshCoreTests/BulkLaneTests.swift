import MeshWire
import Testing

@testable import MeshCore

/// The lane of a routed frame that is no control message; nil: of another frame.
private func lane(_ frame: [UInt8]) -> Lane? {
    guard case .message = classify(frame) else { return nil }
    return FrameFlags(rawValue: frame[5]).lane
}

/// A forged frame from the second of two nodes to the first.
private func frame(
    _ body: UInt8, _ flags: FrameFlags, sequence: UInt32, in mesh: SmallMesh,
    payload: [UInt8] = [9]
) -> [UInt8] {
    var bytes = ByteQueue()
    bytes.appendRoutedHeader(
        length: Frame.routedHeaderSize + Frame.destinationSize + payload.count, flags,
        hopsLeft: 3, body: body, origin: mesh.hosts[1].node.id, key: Key(0),
        destinationCount: 1, number: 0, nameLength: 0, hopsTaken: 0)
    bytes.append(
        Destination(id: mesh.hosts[0].node.id, sequence: sequence, potential: 0))
    bytes.append(payload)
    return bytes.array
}

/// The same with a control message.
private func control(
    _ message: Message, _ flags: FrameFlags, in mesh: SmallMesh
) -> [UInt8] {
    var bytes = ByteQueue()
    bytes.append(message)
    return frame(
        RoutedBody.control.rawValue, flags, sequence: 0, in: mesh, payload: bytes.array)
}

/// Parts of sessions: once, in order, or given up aloud; and what they may not do to messages.
@Suite struct BulkLaneTests {
    // MARK: Once and in order

    @Test func `parts come once and in order, and each lane has numbers of its own`() {
        let mesh = pairWithBob()
        var sequences: [Lane: [UInt32]] = [:]
        mesh.judge = { _, _, frame in
            if case .message(let sequence) = classify(frame) {
                sequences[FrameFlags(rawValue: frame[5]).lane, default: []].append(sequence)
            }
            return .pass
        }
        for payload in numbers(1...50) {
            #expect(mesh.sendSession(payload, from: 0, to: 1) == .sent)
            mesh.send(payload, from: 0, to: "bob")
        }
        mesh.run(for: .milliseconds(60))
        #expect(mesh.parts(at: 1) == numbers(1...50))
        #expect(mesh.parts.allSatisfy { $0.from == mesh.hosts[0].node.id })
        #expect(mesh.payloads(at: 1) == numbers(1...50))
        #expect(sequences == [.messages: Array(1...50), .bulk: Array(1...50)])
        let sizes = mesh.hosts[0].node.flowSizes()
        #expect(sizes.outgoing == 2 && sizes.retainedCount == 0 && sizes.retainedBytes == 0)
        #expect(mesh.hosts[0].node.counters[.sessionsSent] == 50)
        #expect(mesh.hosts[1].node.counters[.sessionsDelivered] == 50)
        #expect(mesh.hosts[0].node.counters[.retransmitted] == 0)
    }

    @Test(arguments: 1...4) func `nothing is lost, doubled or out of order in either lane`(
        _ seed: UInt64
    ) {
        let mesh = SmallMesh(4)
        mesh.attach("bob", at: 1)
        mesh.forget()
        var random = RandomSource(seed: seed)
        mesh.judge = { _, _, frame in
            guard frame[4] == FrameKind.routed.rawValue else { return .pass }
            switch random.next(below: 10) {
            case 0, 1: return .drop
            case 2: return .double
            case 3: return .delay(.milliseconds(Int64(random.next(below: 30))))
            default: return .pass
            }
        }
        for (number, payload) in numbers(1...300).enumerated() {
            // Some are large enough to be stored by themselves.
            let padding = [UInt8](repeating: 7, count: number % 50 == 0 ? 10_000 : number)
            while mesh.sendSession(payload + padding, from: 0, to: 1) != .sent {
                mesh.run(for: .milliseconds(20))
            }
            mesh.sendSession(payload, from: 1, to: 0)
            mesh.send(payload, from: 0, to: "bob")
            if number % 40 == 39 { mesh.run(for: .milliseconds(10)) }
        }
        mesh.run(for: .seconds(30))
        #expect(mesh.parts(at: 1).map { Array($0.prefix(2)) } == numbers(1...300))
        #expect(
            mesh.parts(at: 1).map(\.count).enumerated().allSatisfy {
                $1 == 2 + ($0 % 50 == 0 ? 10_000 : $0)
            })
        #expect(mesh.parts(at: 0) == numbers(1...300))
        #expect(mesh.payloads(at: 1) == numbers(1...300))
        #expect(mesh.givenUp == [] && mesh.bulkGaps == [] && mesh.reports == [])
        for host in 0..<2 {
            let sizes = mesh.hosts[host].node.flowSizes()
            #expect(sizes.retainedBytes == 0 && sizes.reorderedBytes == 0)
            #expect(mesh.hosts[host].node.counters[.protocolErrors] == 0)
        }
    }

    @Test func `parts go past forwarders, who do not read them`() {
        let mesh = SmallMesh(8) { $0.degree = 4 }
        mesh.run(for: .seconds(5))
        for other in 1..<8 {
            for payload in numbers(1...10) { mesh.sendSession(payload, from: 0, to: other) }
        }
        mesh.run(for: .milliseconds(100))
        for other in 1..<8 { #expect(mesh.parts(at: other) == numbers(1...10)) }
        let forwarded = (1..<8).reduce(0) {
            $0 + mesh.hosts[$1].node.counters[.messagesForwarded]
        }
        #expect(forwarded > 0)
        #expect(mesh.hosts[0].node.flowSizes().retainedCount == 0)
    }

    @Test func `parts on a lost link go another way`() {
        let mesh = SmallMesh(3)
        for payload in numbers(1...20) { mesh.sendSession(payload, from: 0, to: 1) }
        mesh.reset(0, 1)
        for payload in numbers(21...40) { mesh.sendSession(payload, from: 0, to: 1) }
        mesh.run(for: .milliseconds(150))
        #expect(mesh.parts(at: 1) == numbers(1...40))
        #expect(mesh.hosts[0].node.counters[.retransmitted] > 0)
    }

    @Test func `parts are acknowledged by their bytes too`() {
        let mesh = pairWithBob()
        let part = [UInt8](repeating: 1, count: 128 * 1024)
        mesh.sendSession(part, from: 0, to: 1)
        mesh.run(for: .milliseconds(10))
        #expect(mesh.hosts[1].node.counters[.acknowledgementsSent] == 0)
        mesh.sendSession(part, from: 0, to: 1)
        mesh.run(for: .milliseconds(5))
        #expect(mesh.hosts[1].node.counters[.acknowledgementsSent] == 1)
        #expect(mesh.hosts[0].node.flowSizes().retainedCount == 0)
    }

    // MARK: Lanes and rooms

    @Test func `a full bulk lane delays no message`() {
        let mesh = pairWithBob()
        mesh.judge = { _, _, frame in lane(frame) == .bulk ? .drop : .pass }
        let part = [UInt8](repeating: 1, count: 100_000)
        var taken = 0
        while mesh.sendSession(part, from: 0, to: 1) == .sent { taken += 1 }
        #expect(taken == 11)
        // Publishers are not asked to wait.
        let isAny = mesh.hosts[0].node.hasCongestion
        let congestion = mesh.congestion(of: "bob", at: 0)
        #expect(!isAny && congestion == nil)
        for payload in numbers(1...100) {
            #expect(mesh.send(payload, from: 0, to: "bob") == 1)
            mesh.run(for: .milliseconds(2))
        }
        #expect(mesh.payloads(at: 1) == numbers(1...100))
        #expect(!mesh.isCongested && mesh.parts == [] && mesh.rooms == [])
        mesh.judge = { _, _, _ in .pass }
        mesh.run(for: .seconds(5))
        #expect(mesh.parts(at: 1).count == taken)
        #expect(mesh.rooms == [mesh.hosts[1].node.id])
        #expect(mesh.uncongestedCount == 0)
    }

    @Test func `gaps in the bulk lane take no room from waiting messages`() {
        let mesh = pairWithBob { $0.flows.reorderTotalBytes = 5_000 }
        mesh.judge = { _, _, frame in
            if classify(frame) == .message(sequence: 1) { .delay(.milliseconds(4)) } else { .pass }
        }
        for payload in numbers(1...4) {
            mesh.sendSession(payload + [UInt8](repeating: 0, count: 1_400), from: 0, to: 1)
        }
        for payload in numbers(1...4) {
            mesh.send(payload + [UInt8](repeating: 0, count: 1_400), from: 0, to: "bob")
        }
        mesh.run(for: .milliseconds(50))
        #expect(mesh.parts(at: 1).count == 4 && mesh.payloads(at: 1).count == 4)
        #expect(mesh.hosts[1].node.counters[.reordered] == 6)
        #expect(mesh.hosts[1].node.counters[.droppedBeyondWindow] == 0)
    }

    @Test func `messages that are not acknowledged delay no part`() {
        let mesh = pairWithBob { $0.flows.windowBytes = 65_536 }
        mesh.judge = { _, _, frame in lane(frame) == .messages ? .drop : .pass }
        while !mesh.isCongested {
            mesh.send([UInt8](repeating: 1, count: 1_000), from: 0, to: "bob")
        }
        for payload in numbers(1...100) {
            #expect(mesh.sendSession(payload, from: 0, to: 1) == .sent)
        }
        mesh.run(for: .milliseconds(10))
        #expect(mesh.parts(at: 1) == numbers(1...100))
    }

    @Test func `a window that was full has room at half`() {
        let mesh = SmallMesh(3) { $0.flows.bulkWindowBytes = 100_000 }
        let part = [UInt8](repeating: 1, count: 10_000 - RetransmissionBuffer.headerSize)
        var isClosed = true
        mesh.judge = { _, _, frame in
            if classify(frame) == .acknowledge, isClosed { .drop } else { .pass }
        }
        for _ in 0..<11 { #expect(mesh.sendSession(part, from: 0, to: 1) == .sent) }
        #expect(mesh.sendSession(part, from: 0, to: 1) == .full)
        // To another node there is room.
        #expect(mesh.sendSession(part, from: 0, to: 2) == .sent)
        mesh.run(for: .milliseconds(100))
        #expect(mesh.rooms == [])
        isClosed = false
        mesh.run(for: .seconds(2))
        #expect(mesh.rooms == [mesh.hosts[1].node.id])
        #expect(mesh.sendSession(part, from: 0, to: 1) == .sent)
        mesh.run(for: .milliseconds(100))
        #expect(mesh.parts(at: 1).count == 12)
    }

    @Test func `all bulk lanes together are bounded, and each that was refused has room again`() {
        let mesh = SmallMesh(4) { $0.flows.bulkTotalBytes = 50_000 }
        mesh.judge = { _, to, frame in lane(frame) == .bulk && to == 1 ? .drop : .pass }
        let part = [UInt8](repeating: 1, count: 60_000)
        #expect(mesh.sendSession(part, from: 0, to: 1) == .sent)
        #expect(mesh.sendSession([1], from: 0, to: 2) == .full)
        #expect(mesh.sendSession([1], from: 0, to: 3) == .full)
        #expect(mesh.hosts[0].node.flowSizes().retainedCount == 1)
        mesh.crash(1)
        mesh.run(for: .seconds(2))
        #expect(mesh.givenUp == [1])
        #expect(Set(mesh.rooms) == Set(mesh.ids(2..<4)) && mesh.rooms.count == 2)
        #expect(mesh.sendSession([1], from: 0, to: 2) == .sent)
        #expect(mesh.hosts[0].node.counters[.undelivered] == 0)
    }

    // MARK: Ends

    @Test
    func `parts that a dead node has not acknowledged are given up once, and no more are taken`() {
        let mesh = SmallMesh(3)
        mesh.judge = { _, to, frame in lane(frame) == .bulk && to == 1 ? .drop : .pass }
        for payload in numbers(1...5) { mesh.sendSession(payload, from: 0, to: 1) }
        // One of them is not understood: it is no more among the others.
        mesh.inject(
            control(.unsupported(Unsupported(sequence: 2, body: 10, flags: .bulk)), [], in: mesh),
            to: 0, from: 1)
        #expect(mesh.givenUp == [1])
        mesh.crash(1)
        mesh.run(for: .seconds(2))
        #expect(mesh.givenUp == [1, 4])
        #expect(mesh.hosts[0].node.counters[.sessionsGivenUp] == 5)
        #expect(mesh.hosts[0].node.flowSizes().retainedBytes == 0)
        #expect(mesh.sendSession([1], from: 0, to: 1) == .unreachable)
        #expect(mesh.reports == [])
    }

    @Test func `after a false death what was given up is skipped, and the rest comes once`() {
        let mesh = SmallMesh(3)
        mesh.sendSession([1], from: 0, to: 1)
        mesh.run(for: .milliseconds(50))
        // Nobody hears the node, which lives on.
        mesh.judge = { from, to, _ in from == 1 || to == 1 ? .drop : .pass }
        mesh.sendSession([2], from: 0, to: 1)
        mesh.sendSession([3], from: 0, to: 1)
        mesh.run(for: .seconds(12))
        #expect(mesh.givenUp == [2])
        mesh.judge = { _, _, _ in .pass }
        mesh.run(for: .seconds(15))
        #expect(mesh.sendSession([4], from: 0, to: 1) == .sent)
        mesh.run(for: .milliseconds(100))
        #expect(mesh.parts(at: 1) == [[1], [4]])
        #expect(mesh.bulkGaps == [2] && mesh.gaps == [])
        #expect(mesh.hosts[0].node.counters[.protocolErrors] == 0)
    }

    @Test func `a flow that one end has forgotten goes on, and no number comes twice`() {
        let mesh = pairWithBob()
        for payload in numbers(1...5) { mesh.sendSession(payload, from: 0, to: 1) }
        mesh.run(for: .milliseconds(50))
        let ids = mesh.ids(0..<2)
        let origin = mesh.hosts[1].node.members.index(of: ids[0])!
        mesh.hosts[1].node.flows.forget(origin, ids[0])
        for payload in numbers(6...9) { mesh.sendSession(payload, from: 0, to: 1) }
        mesh.run(for: .milliseconds(200))
        let destination = mesh.hosts[0].node.members.index(of: ids[1])!
        mesh.hosts[0].node.flows.forget(destination, ids[1])
        for payload in numbers(10...12) { mesh.sendSession(payload, from: 0, to: 1) }
        mesh.run(for: .milliseconds(50))
        #expect(mesh.parts(at: 1) == numbers(1...12))
        #expect(mesh.bulkGaps == [])
    }

    @Test func `a node that leaves waits for its parts, and acknowledges what came`() {
        let mesh = SmallMesh(3)
        for payload in numbers(1...5) { mesh.sendSession(payload, from: 1, to: 0) }
        for payload in numbers(1...5) { mesh.sendSession(payload, from: 0, to: 1) }
        mesh.leave(1)
        mesh.run(for: .seconds(2))
        #expect(mesh.parts(at: 0) == numbers(1...5) && mesh.parts(at: 1) == numbers(1...5))
        #expect(mesh.givenUp == [])
        #expect(mesh.sendSession([1], from: 0, to: 1) == .unreachable)
    }

    // MARK: Extremes

    @Test func `a payload has 0 to 64 MiB`() {
        let mesh = pairWithBob()
        let largest = [UInt8](repeating: 3, count: Frame.payloadMax)
        #expect(mesh.sendSession([], from: 0, to: 1) == .sent)
        #expect(mesh.sendSession(largest, from: 0, to: 1) == .sent)
        #expect(mesh.sendSession([1], from: 0, to: 1) == .full)
        #expect(mesh.sendSession(largest + [0], from: 0, to: 1) == .tooLarge)
        mesh.run(for: .milliseconds(100))
        let sizes = mesh.parts(at: 1).map(\.count)
        #expect(sizes == [0, Frame.payloadMax])
        #expect(mesh.rooms.count == 1)
        #expect(mesh.hosts[0].node.flowSizes().retainedBytes == 0)
    }

    @Test func `a node sends nothing to itself, and nothing to strangers`() {
        let mesh = pairWithBob()
        #expect(mesh.sendSession([1], from: 0, to: 0) == .unreachable)
        let outcome = mesh.sendSession([1], from: 0, toStranger: NodeID(77))
        #expect(outcome == .unreachable)
    }
}

/// Frames of the bulk lane that no honest node sends.
@Suite struct ForgedLaneTests {
    @Test func `an acknowledgement of one lane is none of the other`() {
        let mesh = pairWithBob()
        mesh.judge = { _, _, frame in
            if case .message = classify(frame) { .drop } else { .pass }
        }
        for payload in numbers(1...5) { mesh.sendSession(payload, from: 0, to: 1) }
        let told = Message.acknowledge(Acknowledgement(cumulative: 5, missing: 0))
        // There is no flow of messages.
        mesh.inject(control(told, [], in: mesh), to: 0, from: 1)
        #expect(mesh.hosts[0].node.flowSizes().retainedCount == 5)
        mesh.send([1], from: 0, to: "bob")
        mesh.inject(control(told, [], in: mesh), to: 0, from: 1)
        #expect(mesh.hosts[0].node.counters[.protocolErrors] == 1)
        #expect(mesh.hosts[0].node.flowSizes().retainedCount == 6)
        mesh.inject(control(told, .bulk, in: mesh), to: 0, from: 1)
        #expect(mesh.hosts[0].node.flowSizes().retainedCount == 1)
        // Bytes that were never sent.
        let more = Message.acknowledge(Acknowledgement(cumulative: 6, missing: 0))
        mesh.inject(control(more, .bulk, in: mesh), to: 0, from: 1)
        #expect(mesh.hosts[0].node.counters[.protocolErrors] == 2)
    }

    @Test func `a frame of the bulk lane may carry an acknowledgement of that lane`() {
        let mesh = pairWithBob()
        mesh.judge = { _, _, frame in
            if case .message = classify(frame) { .drop } else { .pass }
        }
        for payload in numbers(1...5) { mesh.sendSession(payload, from: 0, to: 1) }
        mesh.send([1], from: 0, to: "bob")
        let carried = frame(
            RoutedBody.session.rawValue, [.bulk, .acknowledges], sequence: 1, in: mesh,
            payload: [4, 0, 0, 0, 0, 0, 0, 0, 9])
        mesh.inject(carried, to: 0, from: 1)
        #expect(mesh.hosts[0].node.flowSizes().retainedCount == 2)
        #expect(mesh.parts(at: 0) == [[9]])
    }

    @Test func `numbers and skips far ahead are counted, or wait within bounds`() {
        let mesh = pairWithBob { $0.flows.reorderBytes = 1_000 }
        mesh.sendSession([1], from: 1, to: 0)
        mesh.run(for: .milliseconds(50))
        let body = RoutedBody.session.rawValue
        mesh.inject(frame(body, .bulk, sequence: 1 << 30, in: mesh), to: 0, from: 1)
        mesh.inject(control(.skip(through: 1 << 30), .bulk, in: mesh), to: 0, from: 1)
        #expect(mesh.hosts[0].node.counters[.protocolErrors] == 2)
        for sequence in 10..<5_000 as Range<UInt32> {
            mesh.inject(frame(body, .bulk, sequence: sequence, in: mesh), to: 0, from: 1)
        }
        #expect(mesh.hosts[0].node.flowSizes().reorderedBytes <= 1_000)
        #expect(mesh.hosts[0].node.counters[.droppedBeyondWindow] > 4_900)
        // The lane of messages knows nothing of it.
        mesh.attach("ann", at: 0)
        mesh.send([7], from: 1, to: "ann")
        mesh.run(for: .milliseconds(50))
        #expect(mesh.payloads(at: 0) == [[7]])
    }

    /// Bodies and flags that do not go together, in this version.
    private static let misfits: [(body: UInt8, flags: UInt8)] = [
        (10, 0), (3, 64), (1, 64), (11, 64), (11, 0), (10, 64 | 4), (10, 64 | 128), (10, 64 | 32),
    ]

    @Test(arguments: misfits)
    func `a body in the wrong lane is answered as unsupported, and the lane goes on`(
        _ misfit: (body: UInt8, flags: UInt8)
    ) {
        let flags = FrameFlags(rawValue: misfit.flags)
        let mesh = pairWithBob()
        mesh.attach("ann", at: 0)
        mesh.forget()
        mesh.inject(frame(misfit.body, flags, sequence: 1, in: mesh), to: 0, from: 1)
        #expect(mesh.hosts[0].node.counters[.unsupported] == 1)
        #expect(mesh.parts == [] && mesh.deliveries == [])
        let isInFlow = !flags.contains(.volatile)
        let next = frame(
            RoutedBody.session.rawValue, .bulk,
            sequence: isInFlow && flags.contains(.bulk) ? 2 : 1, in: mesh)
        mesh.inject(next, to: 0, from: 1)
        #expect(mesh.parts(at: 0) == [[9]])
        #expect(mesh.hosts[0].node.tableSizes().links == 1)
    }

    @Test func `nothing but a message to clients has a label`() {
        let mesh = pairWithBob()
        let labelled = frame(
            RoutedBody.session.rawValue, [.bulk, .labelled], sequence: 1, in: mesh,
            payload: [5, 0, 1, 77, 77, 9])
        mesh.inject(labelled, to: 0, from: 1)
        let unsupported = mesh.hosts[0].node.counters[.unsupported]
        #expect(mesh.parts(at: 0) == [] && unsupported == 1)
    }

    @Test func `of control messages only those about flows are of a lane`() {
        let mesh = pairWithBob()
        let words: [Message] = [
            .indirectProbe(subject: mesh.hosts[0].node.id, mesh.record(0).incarnation),
            .vouch(subject: mesh.hosts[0].node.id, mesh.record(0).incarnation), .bye,
        ]
        for word in words { mesh.inject(control(word, .bulk, in: mesh), to: 0, from: 1) }
        #expect(mesh.hosts[0].node.counters[.protocolErrors] == UInt64(words.count))
        #expect(mesh.hosts[0].node.tableSizes().links == 1)
    }

    @Test func `a stranger's part opens no flow`() {
        let mesh = pairWithBob()
        var bytes = frame(RoutedBody.session.rawValue, .bulk, sequence: 1, in: mesh)
        bytes[8] ^= 0xFF
        mesh.inject(bytes, to: 0, from: 1)
        #expect(mesh.hosts[0].node.counters[.droppedUnknownOrigin] == 1)
        #expect(mesh.hosts[0].node.flowSizes().incoming == 0)
    }
}
