import MeshWire
import Testing

@testable import MeshCore

/// A node's reaction to the words of others, where it could also have found out by itself, later.
@Suite struct WordOfOthersTests {
    private func member(_ host: Int, at other: Int, _ mesh: SmallMesh) -> MemberIndex {
        mesh.hosts[other].node.members.index(of: mesh.hosts[host].node.id)!
    }

    private func control(
        _ message: Message, from origin: Int, to host: Int, _ mesh: SmallMesh
    ) -> [UInt8] {
        var queue = ByteQueue()
        queue.appendRoutedHeader(
            length: 0, [], hopsLeft: 3, body: RoutedBody.control.rawValue,
            origin: mesh.hosts[origin].node.id, key: Key(0), destinationCount: 1, number: 0,
            nameLength: 0, hopsTaken: 0)
        queue.append(Destination(id: mesh.hosts[host].node.id, sequence: 0, potential: .max))
        queue.append(message)
        queue.overwrite(integer: UInt32(queue.count), at: 0)
        return queue.withSpan { $0.array(Slice(start: 0, count: $0.count)) }
    }

    // MARK: Accusing

    @Test func `a watcher that accuses again is no other watcher`() {
        let mesh = SmallMesh(6)
        let subject = member(1, at: 0, mesh)
        let record = mesh.hosts[0].node.members[subject].record
        let accuse = Message.accuse(subject: record.id, record.incarnation, .silence)
        // Node 0 does not hear the accused any more; nobody vouches.
        mesh.judge = { from, to, frame in
            if from == 1, to == 0 { return .drop }
            return frame[4] == FrameKind.routed.rawValue ? .drop : .pass
        }
        mesh.run(for: .milliseconds(1_100))
        while mesh.hosts[0].node.suspicions.accusations.isEmpty { mesh.run(for: .milliseconds(1)) }
        for _ in 0..<5 {
            mesh.inject(control(accuse, from: 2, to: 0, mesh), to: 0, from: 2)
        }
        #expect(mesh.hosts[0].node.members.status(of: subject) == .alive)
        mesh.inject(control(accuse, from: 3, to: 0, mesh), to: 0, from: 3)
        #expect(mesh.hosts[0].node.members.status(of: subject) == .suspect)
    }

    @Test func `an accused node that is heard again in time is not suspected`() {
        let mesh = SmallMesh(5)
        var isSilent = true
        mesh.judge = { from, to, frame in
            if from == 1, to == 0, isSilent { return .drop }
            return frame[4] == FrameKind.routed.rawValue ? .drop : .pass
        }
        mesh.run(for: .milliseconds(1_100))
        while mesh.hosts[0].node.suspicions.accusations.isEmpty { mesh.run(for: .milliseconds(1)) }
        isSilent = false
        mesh.run(for: .seconds(3))
        #expect(mesh.hosts[0].node.suspicions.accusations.isEmpty)
        for host in 0..<5 { #expect(mesh.hosts[host].node.counters[.suspicions] == 0) }
    }

    @Test func `of several that are accused each is suspected when its own time is over`() {
        let mesh = SmallMesh(6)
        let start = mesh.now
        let since = [1: start, 2: start + .milliseconds(300), 3: start + .milliseconds(600)]
        var clock = start
        // Nobody answers for them.
        mesh.judge = { from, to, frame in
            if to == 0, let silentFrom = since[from], clock >= silentFrom { return .drop }
            return frame[4] == FrameKind.routed.rawValue ? .drop : .pass
        }
        let timing = mesh.hosts[0].node.configuration.timing
        var suspectedAt: [Delay] = []
        for _ in 0..<4_000 {
            mesh.run(for: .milliseconds(1))
            clock = mesh.now
            while suspectedAt.count < mesh.hosts[0].node.counters[.suspicions] {
                suspectedAt.append(clock - start)
            }
        }
        #expect(suspectedAt.count >= 3)
        for (number, time) in suspectedAt.prefix(3).enumerated() {
            let silence = Delay.milliseconds(Int64(number) * 300) + timing.silence
            #expect(time <= silence + timing.accusation + .milliseconds(5))
        }
    }

    @Test func `a suspect that is heard does not die, though no refutation comes`() {
        let mesh = SmallMesh(4)
        let subject = member(1, at: 0, mesh)
        var rumour = mesh.hosts[0].node.members[subject].record
        rumour.status = .suspect
        // News of members travel nowhere.
        mesh.judge = { _, _, frame in
            guard frame[4] == FrameKind.link.rawValue,
                let message = try? Message.decode(
                    frame.span, from: Frame.prefixSize, to: frame.count)
            else { return .pass }
            switch message {
            case .members, .statuses, .origins, .logSummaries, .digests: return .drop
            default: return .pass
            }
        }
        mesh.inject(.members([rumour], isRepair: false), to: 0, from: 2)
        #expect(mesh.hosts[0].node.members.status(of: subject) == .suspect)
        mesh.run(for: .seconds(8))
        #expect(mesh.hosts[0].node.members.status(of: subject) == .suspect)
        #expect(mesh.hosts[0].node.counters[.deaths] == 0)
    }

    @Test func `a node that was stopped gives a suspect that it never heard its full time again`() {
        let mesh = SmallMesh(4)
        var rumour = mesh.record(0)
        rumour.id = NodeID(70)
        rumour.endpoint = Endpoint(ipv4: 70, port: 7)
        for status in [.alive, .suspect] as [MemberStatus] {
            rumour.status = status
            mesh.inject(.members([rumour], isRepair: false), to: 0, from: 2)
        }
        let subject = mesh.hosts[0].node.members.index(of: rumour.id)!
        #expect(mesh.hosts[0].node.members.status(of: subject) == .suspect)
        // The refutation has come meanwhile and is read after what is due.
        var effects = EffectBuffer()
        let awake = mesh.now + .seconds(10)
        mesh.hosts[0].node.handle(.deadline, bytes: Span(), at: awake, into: &effects)
        #expect(mesh.hosts[0].node.members.status(of: subject) == .suspect)
        let due = mesh.hosts[0].node.members.deathDue(of: subject)
        #expect(due == awake + mesh.hosts[0].node.configuration.timing.suspicion)
    }

    // MARK: News

    @Test func `a newcomer whose status changes before it was told of is told of as a newcomer`() {
        let mesh = SmallMesh(3)
        mesh.run(for: .seconds(1))
        func record(_ number: UInt64, _ status: MemberStatus) -> MemberRecord {
            MemberRecord(
                id: NodeID(number), incarnation: mesh.record(0).incarnation, status: status,
                endpoint: Endpoint(ipv4: UInt32(number), port: 7), name: "", zone: "")
        }
        // The first is told at once, the second waits a moment with what comes next.
        mesh.inject(.members([record(70, .alive)], isRepair: false), to: 0, from: 2)
        mesh.inject(.members([record(71, .alive)], isRepair: false), to: 0, from: 2)
        mesh.inject(.members([record(71, .suspect)], isRepair: false), to: 0, from: 2)
        mesh.run(for: .milliseconds(20))
        for id in [70, 71].map({ NodeID($0) }) {
            let known = mesh.hosts[1].node.members.index(of: id)
            #expect(known != nil, "\(id)")
        }
    }

    // MARK: Comparing

    @Test func `of two sets with one log the one nearer to the origin is taken`() {
        let mesh = SmallMesh(3)
        mesh.attach("ann", at: 2)
        mesh.run(for: .seconds(1))
        // Node 1 stands between node 0 and the origin.
        for (host, peer, isAsked) in [(0, 1, true), (1, 0, false)] {
            let origin = mesh.hosts[host].node.members[member(2, at: host, mesh)]
            var asked: [RepairRequest] = []
            mesh.judge = { from, _, frame in
                if from == host, frame[4] == FrameKind.link.rawValue,
                    case .repair(let requests) = try? Message.decode(
                        frame.span, from: Frame.prefixSize, to: frame.count)
                {
                    asked += requests
                }
                return .pass
            }
            mesh.inject(
                .origins(
                    [
                        OriginEntry(
                            member: origin.record, sequence: origin.log.sequence, keyCount: 1,
                            keySum: origin.log.keySum &+ 1)
                    ], mask: 0, isReply: true), to: host, from: peer)
            mesh.run(for: .milliseconds(5))
            #expect(asked.map(\.wantsSnapshot) == (isAsked ? [true] : []), "\(host)")
        }
    }

    /// A summary of somebody whom only the peer knows, before, between or behind all others.
    @Test(arguments: [0x0000_0001, 0x2800_0000, 0xF000_0000] as [UInt32])
    func `of members that only the peer knows whole entries are exchanged`(prefix: UInt32) {
        let mesh = SmallMesh(3)
        mesh.attach("ann", at: 2)
        mesh.run(for: .seconds(1))
        var effects = EffectBuffer()
        let link = mesh.link(from: 1, to: 0)!
        mesh.hosts[1].node.sendSummaries(~0, over: link, &effects)
        let frame = effects.bytes.withSpan { $0.array(Slice(start: 0, count: $0.count)) }
        guard
            case .logSummaries(var summaries, let mask)? = try? Message.decode(
                frame.span, from: Frame.prefixSize, to: frame.count)
        else {
            Issue.record("no summaries")
            return
        }
        // The peer is behind in one log: something else differs too.
        summaries[2].sequence -= 1
        summaries.append(LogSummary(prefix: prefix, membership: 1, sequence: 0, sum: 0))
        summaries.sort { $0.prefix < $1.prefix }
        var masks: [UInt64] = []
        mesh.judge = { from, to, frame in
            if from == 0, to == 1, frame[4] == FrameKind.link.rawValue,
                case .origins(_, let mask, _) = try? Message.decode(
                    frame.span, from: Frame.prefixSize, to: frame.count)
            {
                masks.append(mask)
            }
            return .pass
        }
        mesh.inject(.logSummaries(summaries, mask: mask), to: 0, from: 1)
        mesh.run(for: .milliseconds(5))
        #expect(masks == [1 << UInt64(prefix >> 26)])
    }

    @Test func `however often digests differ, neighbours compare at most every 400 ms`() {
        let mesh = SmallMesh(3)
        mesh.run(for: .seconds(1))
        var comparedCount = 0
        mesh.judge = { from, to, frame in
            if from == 0, to == 1, frame[4] == FrameKind.link.rawValue,
                case .digests = try? Message.decode(
                    frame.span, from: Frame.prefixSize, to: frame.count)
            {
                comparedCount += 1
            }
            return .pass
        }
        for _ in 0..<20 {
            mesh.inject(
                .heartbeat(Heartbeat(digest: 7, sentAt: 1, echo: 0, echoDelay: 0)), to: 0, from: 1)
            mesh.run(for: .milliseconds(15))
        }
        #expect(comparedCount == 1)
    }
}
