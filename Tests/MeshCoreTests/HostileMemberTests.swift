import MeshWire
import Testing

@testable import MeshCore

/// The words of one member cannot end the others, nor keep them busy for long. The bounds of time are
/// wide: work that grows with the square of what is said takes minutes.
@Suite(.timeLimit(.minutes(15))) struct HostileMemberTests {
    private func addPattern(_ text: String, key: Key) -> DirectoryRecord {
        DirectoryRecord(.addPattern, key, text: Array(text.utf8))
    }

    /// Records of a host, which it has not sent.
    private func records(
        of host: Int, in mesh: SmallMesh, from first: UInt64, _ records: [DirectoryRecord],
        isRepair: Bool = true
    ) -> Message {
        .records(
            DirectoryRecords(
                origin: mesh.record(host).id, life: mesh.record(host).incarnation.life,
                firstSequence: first, isRepair: isRepair, records: records))
    }

    // MARK: Numbers

    @Test func `a sequence at the end of its type does not spread, and later records end nobody`() {
        let mesh = SmallMesh(4)
        let victim = mesh.record(2)
        mesh.inject(
            .snapshot(
                SnapshotPart(
                    origin: victim.id, life: victim.incarnation.life, sequence: .max, first: 0,
                    last: SnapshotPart.lastPosition, endsAnswer: true, keys: [], patterns: [])),
            to: 0, from: 1)
        mesh.run(for: .seconds(2))
        mesh.attach("ann", at: 2)
        mesh.run(for: .seconds(2))
        #expect(mesh.send([1], from: 0, to: "ann") == 1)
        #expect(mesh.protocolErrors(at: 0) == 1)
    }

    @Test func `an entry that is named twice costs its sender the link, and no answer`() {
        let mesh = SmallMesh(3)
        mesh.attach("ann", at: 0)
        let entry = OriginEntry(member: mesh.record(0), sequence: 0, keyCount: 0, keySum: 0)
        let before = mesh.link(from: 0, to: 1)
        #expect(before != nil)
        mesh.inject(
            .origins(
                [OriginEntry](repeating: entry, count: 65_535), mask: ~0, isReply: false),
            to: 0, from: 1)
        #expect(mesh.link(from: 0, to: 1) == nil)
        #expect(mesh.protocolErrors(at: 0) == 1)
    }

    @Test func `a log asked for twice in one message is sent once`() {
        let mesh = SmallMesh(2)
        for number in 0..<100 {
            mesh.handle(0, .directory(mesh.key("user \(number)"), .add))
        }
        mesh.run(for: .milliseconds(100))
        var frames = 0
        mesh.judge = { from, _, frame in
            if from == 0, frame[4] == FrameKind.link.rawValue,
                frame[8] == Message.Number.records.rawValue
            {
                frames += 1
            }
            return .pass
        }
        let request = RepairRequest(
            origin: mesh.record(0).id, life: mesh.record(0).incarnation.life, after: 0)
        mesh.inject(
            .repair([RepairRequest](repeating: request, count: 60_000)), to: 0, from: 1)
        #expect(frames == 1)
    }

    @Test(arguments: [Greeting.Purpose.introduce, .neighbour, .probe, .longRange], [true, false])
    func `nobody is taken for a member that is heard over its own link`(
        purpose: Greeting.Purpose, isDialled: Bool
    ) throws {
        let mesh = SmallMesh(3)
        mesh.attach("ann", at: 1)
        mesh.run(for: .seconds(1))
        let honest = mesh.record(1)
        let (later, elsewhere) = (honest.incarnation.rawValue + 1 << 32, mesh.record(2).endpoint)
        let lies: [MemberRecord] = [
            MemberRecord(
                id: honest.id, incarnation: Incarnation(later), status: .alive,
                endpoint: honest.endpoint, name: "n1", zone: ""),
            MemberRecord(
                id: honest.id, incarnation: honest.incarnation, status: .alive,
                endpoint: elsewhere, name: "n1", zone: ""),
        ]
        for (count, lie) in lies.enumerated() {
            let stranger = try #require(mesh.accept(at: 0))
            let (cluster, clusterID) = (
                mesh.hosts[0].node.configuration.cluster, mesh.hosts[0].node.clusterID
            )
            let greeting = Greeting(
                cluster: cluster, clusterID: clusterID, purpose: purpose, stratum: 1, member: lie)
            if isDialled {
                mesh.hosts[0].node.links[stranger].isDialled = true
                mesh.hosts[0].node.links[stranger].purpose = purpose
                mesh.hosts[0].node.links[stranger].state = .greeting
            }
            var frame = ByteQueue()
            _ = frame.appendLinkFrame(isDialled ? .welcome(greeting) : .hello(greeting))
            let bytes = frame.withSpan { $0.array(Slice(start: 0, count: $0.count)) }
            var needed = 0
            let prefix = try #require(try FramePrefix.read(bytes.span, at: 0, needed: &needed))
            mesh.handle(0, .received(prefix, start: 0, from: stranger), bytes)
            let known = mesh.hosts[0].node.members.index(of: honest.id)!
            let record = mesh.hosts[0].node.members[known].record
            #expect(record == honest)
            #expect(mesh.protocolErrors(at: 0) == UInt64(count + 1))
            #expect(mesh.send([1], from: 0, to: "ann") == 1)
            #expect(mesh.link(from: 0, to: 1) != nil)
        }
        mesh.run(for: .seconds(5))
        #expect(mesh.payloads(at: 1) == [[1], [1]])
        for host in 0..<3 {
            #expect(mesh.hosts[host].node.counters[.deaths] == 0)
            #expect(mesh.hosts[host].node.counters[.refutations] == 0)
            #expect(mesh.memberCount(at: host) == 3)
        }
    }

    @Test func `a refusal names no incarnation that nobody would believe`() throws {
        let mesh = SmallMesh(2)
        let life = mesh.hosts[0].node.incarnation.life
        // The connection is lost; this node dials, and is told a life of its own far ahead.
        mesh.judge = { _, _, frame in
            frame[4] == FrameKind.link.rawValue && frame[8] == Message.Number.hello.rawValue
                ? .drop : .pass
        }
        mesh.reset(0, 1)
        mesh.run(for: .milliseconds(200))
        let slots = LinkIndex(0)..<LinkIndex(mesh.hosts[0].wires.count)
        let dialled = slots.first { mesh.hosts[0].node.links[$0].state == .greeting }
        var refusal = ByteQueue()
        _ = refusal.appendLinkFrame(
            .refuse(.dead, holder: NodeID(0), Incarnation((1 << 46) << 16)))
        let bytes = refusal.withSpan { $0.array(Slice(start: 0, count: $0.count)) }
        var needed = 0
        let prefix = try #require(try FramePrefix.read(bytes.span, at: 0, needed: &needed))
        mesh.handle(0, .received(prefix, start: 0, from: try #require(dialled)), bytes)
        let lifeAfter = mesh.hosts[0].node.incarnation.life
        #expect(lifeAfter == life)
        #expect(mesh.protocolErrors(at: 0) == 1)
    }

    @Test func `a long traced frame is not copied for each link, but costs its sender the link`() {
        let mesh = SmallMesh(4)
        let others = [2, 3].map { mesh.record($0).id }
        var bytes = ByteQueue()
        bytes.appendRoutedHeader(
            length: 0, .traced, hopsLeft: 9, body: RoutedBody.control.rawValue,
            origin: mesh.record(1).id, key: Key(0), destinationCount: 2, number: 0, nameLength: 0,
            hopsTaken: 0)
        for id in others { bytes.append(Destination(id: id, sequence: 0, potential: .max)) }
        bytes.append([UInt8](repeating: 0, count: 1 << 20))
        bytes.overwrite(integer: UInt32(bytes.count), at: 0)
        mesh.inject(
            bytes.withSpan { $0.array(Slice(start: 0, count: $0.count)) }, to: 0, from: 1)
        #expect(mesh.link(from: 0, to: 1) == nil)
        #expect(mesh.protocolErrors(at: 0) == 1)
    }

    // MARK: Patterns

    @Test func `a pattern under another's key is refused, and its teller's end ends nobody`() {
        let mesh = SmallMesh(3)
        mesh.inject(
            records(
                of: 1, in: mesh, from: 1,
                [addPattern("one*", key: Key(7)), addPattern("two*", key: Key(7))]),
            to: 0, from: 1)
        #expect(mesh.patternCount(at: 0) == 0)
        #expect(mesh.protocolErrors(at: 0) == 1)
        mesh.crash(1)
        mesh.run(for: .seconds(6))
        #expect(mesh.memberCount(at: 0) == 2)
    }

    /// Two patterns with one key in the cluster `small`: anybody finds such a pair in 2^24 tries.
    private static let twins = ["00769edc*", "0197a4d6*"]

    private func change(
        _ pattern: String, _ change: DirectoryChange, at host: Int, in mesh: SmallMesh
    ) {
        let text = Array(pattern.utf8)
        mesh.handle(
            host,
            .pattern(
                mesh.hasher.key(.pattern, text), name: Slice(start: 0, count: text.count), change),
            text)
        mesh.run(for: .milliseconds(50))
    }

    @Test func `patterns that share a key come, go, and end with their node one by one`() {
        let mesh = SmallMesh(3)
        let keys = Self.twins.map { mesh.hasher.key(.pattern, Array($0.utf8)) }
        #expect(keys[0] == keys[1])
        for twin in Self.twins { change(twin, .add, at: 1, in: mesh) }
        #expect((0..<3).map { mesh.patternCount(at: $0) } == [2, 2, 2])
        change(Self.twins[0], .remove, at: 1, in: mesh)
        #expect((0..<3).map { mesh.patternCount(at: $0) } == [1, 1, 1])
        // The one that is left is the other.
        let name = Array("0197a4d6 news".utf8)
        let count = mesh.publish(
            0,
            OutgoingMessage(
                .channel, mesh.hasher.key(.channel, name), name: Slice(start: 0, count: name.count),
                payload: .empty, sender: 0, isVolatile: false), name)
        #expect(count == 1)
        change(Self.twins[0], .add, at: 1, in: mesh)
        mesh.crash(1)
        mesh.run(for: .seconds(6))
        #expect(mesh.patternCount(at: 0) == 0 && mesh.patternCount(at: 2) == 0)
    }

    @Test func `a member has no more patterns than a node may, however it tells them`() {
        let mesh = SmallMesh(3)
        var first: UInt64 = 1
        for part in 0..<20 {
            let items = (0..<4_000).map { number -> DirectoryRecord in
                let text = "lie \(part) \(number)*"
                return addPattern(text, key: mesh.hasher.key(.pattern, Array(text.utf8)))
            }
            mesh.inject(records(of: 1, in: mesh, from: first, items), to: 0, from: 1)
            first += 4_000
        }
        #expect(mesh.patternCount(at: 0) == Frame.patternCountMax)
        #expect(
            mesh.protocolErrors(at: 0) == UInt64(80_000 - Frame.patternCountMax))
        mesh.crash(1)
        mesh.run(for: .seconds(6))
        #expect(mesh.patternCount(at: 0) == 0)
    }

    // MARK: Squares

    @Test func `a million watched users go at once`() {
        var watched = WatchedKeys()
        let count = 1_000_000
        for number in 0..<count { watched.add(Key(UInt64(number)), isOnline: true) }
        let due = Instant(nanoseconds: 5)
        let left = (0..<count).count { watched.departed(Key(UInt64($0)), .quit, due: due) == due }
        #expect(left == count)
        let (absent, next) = watched.takeAbsent(at: due)
        #expect(absent.count == count)
        #expect(absent.first?.0 == Key(0))
        #expect(next == nil)
    }

    /// The number that `RandomSource.mix` turns into this one.
    private func unmixed(_ value: UInt64) -> UInt64 {
        func unshifted(_ value: UInt64, by shift: UInt64) -> UInt64 {
            var result = value
            for _ in 0..<(64 / shift + 1) { result = value ^ result >> shift }
            return result
        }
        // The inverses modulo 2^64 of the multipliers of `mix`.
        var z = unshifted(value, by: 31) &* 0x3196_42B2_D24D_8EC3
        z = unshifted(z, by: 27) &* 0x96DE_1B17_3F11_9089
        return unshifted(z, by: 30)
    }

    @Test func `members whose ids fall on one place of an open table come, go and are forgotten`() {
        #expect(RandomSource.mix(unmixed(12_345)) == 12_345)
        let mesh = SmallMesh(2)
        var random = RandomSource(seed: 1)
        let count = 30_000
        var members = (0..<count).map { number in
            MemberRecord(
                id: NodeID(unmixed(random.next() << 18 | 5)),
                incarnation: Incarnation(bootMilliseconds: 1_699_999_000_000), status: .alive,
                endpoint: Endpoint(
                    ipv4: 0x0B00_0000 + UInt32(number), port: 1_024), name: "", zone: "")
        }
        mesh.inject(.members(members, isRepair: false), to: 0, from: 1)
        #expect(mesh.memberCount(at: 0) == count + 2)
        for place in members.indices { members[place].status = .left }
        mesh.inject(.members(members, isRepair: false), to: 0, from: 1)
        #expect(mesh.memberCount(at: 0) == 2)
        mesh.run(for: .seconds(4))
        let known = mesh.hosts[0].node.memberReports(includingDeparted: true).count
        #expect(known == 2 + 1_024)
    }

    @Test func `members that went return in any order`() {
        var departed = DepartedMembers()
        for index in 0..<60_000 { departed.append(MemberIndex(index)) }
        for index in stride(from: 59_999, to: 9, by: -1) { departed.remove(MemberIndex(index)) }
        #expect(departed.count == 10)
        #expect(departed.indices.map(\.slot) == Array(0..<10))
        departed.remove(.oneself)
        departed.append(.oneself)
        #expect(departed.first == MemberIndex(1))
        #expect(departed.indices.map(\.slot) == Array(1..<10) + [0])
    }

    @Test func `strangers beyond the bound make room, and those of a node go with it`() {
        var keyCollisions = KeyCollisions()
        for number in 0..<10_000 {
            keyCollisions.insert(
                Key(UInt64(number)), name: 1, at: NodeID(UInt64(number % 3)))
        }
        #expect(keyCollisions.count == KeyCollisions.countMax)
        #expect(!keyCollisions.contains(Key(0), name: 1, at: NodeID(0)))
        #expect(keyCollisions.contains(Key(9_999), name: 1, at: NodeID(0)))
        keyCollisions.forget(at: NodeID(0))
        #expect(!keyCollisions.contains(Key(9_999), name: 1, at: NodeID(0)))
        keyCollisions.forget(at: NodeID(1))
        keyCollisions.forget(at: NodeID(2))
        #expect(keyCollisions.isEmpty)
    }

    // MARK: Readiness

    @Test func `a node whose seeds are dead is ready once the mesh has taken it in`() {
        // The first host knows of the third, which knows an address where nobody is.
        let nobody = Endpoint(ipv4: 0x0A00_00C8, port: 7_400)
        let mesh = SmallMesh(3) { configuration in
            switch configuration.name {
            case "n0": configuration.seeds = [Endpoint(ipv4: 0x0A00_0002, port: 7_400)]
            case "n2": configuration.seeds = [nobody]
            default: break
            }
        }
        for host in 0..<3 {
            let isReady = mesh.hosts[host].node.isReady
            #expect(isReady)
        }
        mesh.attach("ann", at: 1)
        #expect(mesh.send([1], from: 2, to: "ann") == 1)
    }
}
