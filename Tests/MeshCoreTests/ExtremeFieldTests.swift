import MeshWire
import Testing

@testable import MeshCore

/// A member that sends each message with each of its fields at its extremes. None may end a node, at
/// once or by what it leads to when honest nodes go on.
@Suite(.timeLimit(.minutes(15))) struct ExtremeFieldTests {
    /// Every message of the protocol: a new one has to be added here to compile.
    private static func example(
        of number: Message.Number, _ peer: MemberRecord, _ other: MemberRecord, _ hasher: KeyHasher
    ) -> Message? {
        let key = Key(0x1234_5678_9ABC)
        let pattern = Array("news.*".utf8)
        let greeting = Greeting(
            cluster: "smallworld", clusterID: 9, purpose: .longRange, stratum: 1, member: peer)
        switch number {
        case .hello: return .hello(greeting)
        case .welcome: return .welcome(greeting)
        case .refuse: return .refuse(.dead, holder: other.id, other.incarnation)
        case .heartbeat: return .heartbeat(Heartbeat(digest: 1, sentAt: 2, echo: 3, echoDelay: 4))
        case .members:
            return .members(other.id == peer.id ? [peer] : [other, peer], isRepair: true)
        case .statuses: return .statuses([StatusChange(other), StatusChange(peer)])
        case .linkLists:
            return .linkLists([
                LinkList(
                    owner: peer.id, incarnation: peer.incarnation, version: 9, hopsLeft: 1,
                    links: [other.id])
            ])
        case .linkChanges:
            return .linkChanges([
                LinkListChange(
                    owner: peer.id, version: 10, hopsLeft: 1, check: 3, removed: [1],
                    added: [other.id])
            ])
        case .linksWanted: return .linksWanted([peer.id, other.id])
        case .role: return .role(.longRange)
        case .bye: return .bye
        case .accuse: return .accuse(subject: other.id, other.incarnation, .silence)
        case .vouch: return .vouch(subject: other.id, other.incarnation)
        case .indirectProbe:
            return .indirectProbe(subject: other.id, other.incarnation)
        case .records:
            return .records(
                DirectoryRecords(
                    origin: peer.id, life: peer.incarnation.life, firstSequence: 1, isRepair: false,
                    records: [
                        DirectoryRecord(.addKey, key), DirectoryRecord(.removeKey, key),
                        DirectoryRecord(.addPattern, hasher.key(.pattern, pattern), text: pattern),
                    ]))
        case .digests: return .digests([UInt64](repeating: 7, count: 64))
        case .origins:
            return .origins(
                [OriginEntry(member: other, sequence: 1, keyCount: 2, keySum: 3)], mask: 1,
                isReply: false)
        case .logSummaries:
            return .logSummaries(
                [
                    LogSummary(
                        prefix: UInt32(truncatingIfNeeded: other.id.rawValue >> 32), membership: 1,
                        sequence: 2, sum: 3)
                ], mask: 1)
        case .repair:
            return .repair([
                RepairRequest(origin: other.id, life: other.incarnation.life, after: 0)
            ])
        case .snapshot:
            return .snapshot(
                SnapshotPart(
                    origin: other.id, life: other.incarnation.life, sequence: 3, first: 0,
                    last: SnapshotPart.lastPosition, endsAnswer: true, keys: [key],
                    patterns: [pattern]))
        case .cannotRepair: return .cannotRepair(other.id)
        case .compare: return .compare(number: 1, [UInt64](repeating: 0, count: 64))
        case .compared: return .compared(number: 1, isBehind: false)
        case .recordsKnown:
            return .recordsKnown(origin: other.id, life: other.incarnation.life, sequence: 1)
        case .coordinates:
            return .coordinates([
                MemberCoordinate(
                    id: peer.id, coordinate: Coordinate(x: 1, y: 2, z: 3, height: 4, error: 50))
            ])
        case .acknowledge: return .acknowledge(Acknowledgement(cumulative: 1, missing: 1))
        case .wrongName: return .wrongName(key, name: 1, sequence: 2)
        case .skip: return .skip(through: 1)
        case .nobody: return .nobody([1, 2], sequence: 3)
        case .takenBack: return .takenBack(FlowRange(first: 1, last: 1), last: 2)
        case .unsupported: return .unsupported(Unsupported(sequence: 1, body: 99, flags: []))
        case .query, .answer, .traceAnswer: return nil
        }
    }

    private static let numbers = (UInt8.min...UInt8.max).compactMap(Message.Number.init)

    /// The bytes of a message; of those with bytes of their own, some.
    ///
    /// - Parameter subject: the host that it speaks of, the sender or another.
    private func encoded(
        _ number: Message.Number, of subject: Int, in mesh: SmallMesh
    ) -> [UInt8] {
        var bytes = ByteQueue()
        let (peer, other) = (mesh.record(1), mesh.record(subject))
        if let message = Self.example(of: number, peer, other, mesh.hasher) {
            bytes.append(message)
        } else {
            bytes.append(number.rawValue)
            for byte in 0..<12 { bytes.append(UInt8(byte)) }
        }
        return bytes.withSpan { $0.array(Slice(start: 0, count: $0.count)) }
    }

    private func frame(_ write: (inout ByteQueue) -> Void) -> [UInt8] {
        var bytes = ByteQueue()
        write(&bytes)
        bytes.overwrite(integer: UInt32(bytes.count), at: 0)
        return bytes.withSpan { $0.array(Slice(start: 0, count: $0.count)) }
    }

    /// A message as it comes over a link, from afar, and for all.
    private func carried(_ message: [UInt8], in mesh: SmallMesh) -> [(frame: [UInt8], head: Int)] {
        let (own, peer) = (mesh.hosts[0].node.id, mesh.hosts[1].node.id)
        let overLink = frame {
            $0.appendPrefix(length: 0, .link, [], hopsLeft: 0, body: 0)
            $0.append(message)
        }
        let routed = frame {
            $0.appendRoutedHeader(
                length: 0, [], hopsLeft: 9, body: RoutedBody.control.rawValue, origin: peer,
                key: Key(0), destinationCount: 1, number: 0, nameLength: 0, hopsTaken: 0)
            $0.append(Destination(id: own, sequence: 0, potential: .max))
            $0.append(message)
        }
        let arc = frame {
            $0.appendArcHeader(length: 0, hopsLeft: 9, origin: peer, end: peer)
            $0.append(message)
        }
        return [
            (overLink, Frame.prefixSize),
            (routed, Frame.routedHeaderSize + Frame.destinationSize), (arc, Frame.arcHeaderSize),
        ]
    }

    /// The same bytes with one field of every place and width at one of its extremes.
    private func extremes(of frame: [UInt8], from head: Int, _ visit: ([UInt8]) -> Void) {
        for width in [1, 2, 4, 8] {
            for offset in stride(from: head, through: frame.count - width, by: 1) {
                for (upper, rest) in [(0xFF, 0xFF), (0x7F, 0xFF), (0x80, 0), (0, 0)] {
                    var bytes = frame
                    for place in offset..<(offset + width) { bytes[place] = UInt8(rest) }
                    bytes[offset + width - 1] = UInt8(upper)
                    if bytes != frame { visit(bytes) }
                }
            }
        }
    }

    /// The next steps of honest nodes: the places where a number that was let in would be added to.
    private func goOn(_ mesh: SmallMesh, _ turn: Int) {
        let change: DirectoryChange = turn % 2 == 1 ? .add : .remove
        let pattern = Array("p*".utf8)
        for host in 1...2 {
            mesh.handle(host, .directory(mesh.key("user"), change))
            mesh.handle(
                host,
                .pattern(
                    mesh.hasher.key(.pattern, pattern),
                    name: Slice(start: 0, count: pattern.count), change), pattern)
        }
        mesh.send([1], from: 0, to: "user")
        // Changes gather for 10 ms before they are told.
        mesh.run(for: .milliseconds(13))
        if mesh.link(from: 0, to: 1) == nil { mesh.run(for: .milliseconds(700)) }
    }

    @Test(arguments: numbers)
    func `no extreme of a field of a message ends a node`(number: Message.Number) {
        for (carrier, subject) in [(0, 1), (0, 2), (1, 2), (2, 2)] {
            var mesh = SmallMesh(3)
            let message = encoded(number, of: subject, in: mesh)
            let (whole, head) = carried(message, in: mesh)[carrier]
            var turn = 0
            extremes(of: whole, from: head) { bytes in
                if mesh.link(from: 0, to: 1) == nil { mesh = SmallMesh(3) }
                mesh.inject(bytes, to: 0, from: 1)
                turn += 1
                goOn(mesh, turn)
            }
            // The node that said it dies: what it said is taken out again.
            mesh.crash(1)
            mesh.run(for: .seconds(6))
            #expect(mesh.memberCount(at: 0) >= 1)
        }
    }

    @Test func `no extreme of a field of a frame's header ends a node`() {
        let name = Array("user".utf8)
        var mesh = SmallMesh(3)
        let (own, peer) = (mesh.hosts[0].node.id, mesh.hosts[1].node.id)
        let frames = [1, 2].map { count in
            frame {
                $0.appendRoutedHeader(
                    length: 0, count == 1 ? .acknowledges : [], hopsLeft: 9,
                    body: RoutedBody.user.rawValue, origin: peer, key: mesh.key("user"),
                    destinationCount: count, number: 1, nameLength: name.count, hopsTaken: 0)
                $0.append(Destination(id: own, sequence: 1, potential: .max))
                if count == 2 {
                    $0.append(
                        Destination(id: mesh.hosts[2].node.id, sequence: 1, potential: .max))
                } else {
                    $0.append(Acknowledgement(cumulative: 1, missing: 1))
                }
                $0.append(name)
                $0.append(Array("payload".utf8))
            }
        }
        var turn = 0
        for whole in frames {
            extremes(of: whole, from: 4) { bytes in
                if mesh.link(from: 0, to: 1) == nil { mesh = SmallMesh(3) }
                var needed = 0
                guard (try? FramePrefix.read(bytes.span, at: 0, needed: &needed)) != nil else {
                    return
                }
                mesh.inject(bytes, to: 0, from: 1)
                turn += 1
                goOn(mesh, turn)
            }
        }
        mesh.crash(1)
        mesh.run(for: .seconds(6))
        #expect(turn > 1_000)
    }
}
