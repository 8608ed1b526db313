import MeshCore
import MeshDriver
import MeshWire
import Testing

@testable import MeshServer

/// A mesh of this build and of one that speaks a later version of the wire: what the last three of
/// twelve hosts send is rewritten, so that it has what this build does not know.
@Suite struct LaterVersionTests {
    /// The changes that the later build makes to frames.
    private struct Translator {
        static let bodyNumber: UInt8 = 9
        static let flag: UInt8 = 128
        static let linkMessage: UInt8 = 28
        static let arcMessage: UInt8 = 29
        static let controlMessage: UInt8 = 33
        static let operation: UInt8 = 200

        static func id(_ host: Int) -> NodeID { NodeID(UInt64(host + 1) << 60) }
        static func isLater(_ host: Int) -> Bool { host >= 9 }

        static func translate(_ from: Int, _ frame: [UInt8]) -> [[UInt8]] {
            guard isLater(from) else { return [frame] }
            switch FrameKind(rawValue: frame[4]) {
            case .link: return translate(link: frame, from)
            case .arc:
                let origin = NodeID(frame.span.load(UInt64.self, at: 8))
                guard origin == id(from) else { return [frame] }
                let head = Array(frame.prefix(Frame.arcHeaderSize))
                var flagged = frame
                flagged[5] = flag
                flagged[7] = bodyNumber
                return [
                    head + translate(records: frame[Frame.arcHeaderSize...], from),
                    sized(head + [arcMessage, 1, 2, 3]), flagged,
                ]
            case .routed:
                let origin = NodeID(frame.span.load(UInt64.self, at: 8))
                return origin == id(from) ? translate(routed: frame) : [frame]
            case nil: return [frame]
            }
        }

        private static func sized(_ frame: [UInt8]) -> [UInt8] {
            (0..<4).map { UInt8(truncatingIfNeeded: frame.count >> (8 * $0)) } + frame[4...]
        }

        private static func encoded(_ message: Message) -> [UInt8] {
            var queue = ByteQueue()
            queue.append(message)
            return queue.withSpan { $0.array(Slice(start: 0, count: $0.count)) }
        }

        private static func translate(link frame: [UInt8], _ from: Int) -> [[UInt8]] {
            let message = try? Message.decode(
                frame.span, from: Frame.prefixSize, to: frame.count)
            let head = Array(frame.prefix(Frame.prefixSize))
            switch message {
            case .hello(let greeting): return [sized(head + encoded(.hello(later(greeting))))]
            case .welcome(let greeting): return [sized(head + encoded(.welcome(later(greeting))))]
            case .members(let records, let isRepair):
                let message = Message.members(records.map(later), isRepair: isRepair)
                return [sized(head + encoded(message))]
            case .origins(var entries, let mask, let isReply):
                for place in entries.indices {
                    entries[place].member = later(entries[place].member)
                }
                let message = Message.origins(entries, mask: mask, isReply: isReply)
                return [sized(head + encoded(message))]
            case .records: return [head + translate(records: frame[Frame.prefixSize...], from)]
            case .heartbeat: return [frame, sized(head + [linkMessage, 7])]
            default: return [frame]
            }
        }

        private static func later(_ greeting: Greeting) -> Greeting {
            var changed = greeting
            changed.versionMax = Greeting.currentVersion + 1
            changed.features = 1 << 40
            changed.member = later(greeting.member)
            return changed
        }

        private static func later(_ record: MemberRecord) -> MemberRecord {
            var changed = record
            if (0..<16).contains(where: { isLater($0) && id($0) == record.id }) {
                changed.capabilities.version = Greeting.currentVersion + 1
            }
            return changed
        }

        /// A pattern that is removed, though nobody has it, becomes an operation that says more.
        private static func translate(records bytes: ArraySlice<UInt8>, _ from: Int) -> [UInt8] {
            let plain = Array(bytes)
            let message = try? Message.decode(plain.span, from: 0, to: plain.count)
            guard case .records(var records) = message, records.origin == id(from) else {
                return plain
            }
            for place in records.records.indices
            where records.records[place].operation == .removePattern {
                records.records[place].operation = .unknown(operation)
            }
            return encoded(.records(records))
        }

        private static func translate(routed frame: [UInt8]) -> [[UInt8]] {
            var needed = 0
            guard let prefix = try? FramePrefix.read(frame.span, at: 0, needed: &needed),
                let header = try? RoutedHeader.read(frame.span, at: 0, prefix)
            else { return [frame] }
            if frame[7] == RoutedBody.control.rawValue {
                return [frame, sized(frame.prefix(header.payloadOffset) + [controlMessage])]
            }
            let name = String(
                decoding: frame[header.nameOffset..<header.payloadOffset], as: UTF8.self)
            var changed = frame
            switch name {
            case "body": changed[7] = bodyNumber
            case "flag": changed[5] |= flag
            case "sender", "label":
                // It has the sender alone, or something that is not known.
                let sender = [4, 0] + Array("SECR".utf8) + [UInt8](repeating: 0, count: 20)
                let label = [29, 0, name == "sender" ? 1 : 129] + sender
                changed[5] |= FrameFlags.labelled.rawValue
                changed.insert(contentsOf: label, at: header.payloadOffset)
                changed = sized(changed)
            default: break
            }
            return [changed]
        }
    }

    /// Frames that early hosts have passed on, which the judge sees.
    private final class Passed {
        var bodies: Set<UInt8> = []
        var flags: Set<UInt8> = []
        var arcs: Set<UInt8> = []
        var arcBodies: Set<UInt8> = []

        func see(_ from: Int, _ frame: [UInt8]) {
            if Translator.isLater(from) { return }
            if frame[4] == FrameKind.routed.rawValue {
                bodies.insert(frame[7])
                flags.insert(frame[5] & ~15)
            } else if frame[4] == FrameKind.arc.rawValue {
                arcs.insert(frame[Frame.arcHeaderSize])
                flags.insert(frame[5])
                arcBodies.insert(frame[7])
            }
        }
    }

    private struct Scene {
        let servers = Servers(9) { $0.node.degree = 6 }
        let passed = Passed()
        /// Of the later build.
        let sender = 11
        /// An early host that the sender has no link with.
        var far = 0

        init() {
            servers.mesh.translator = { from, _, frame in Translator.translate(from, frame) }
            for number in 9..<12 {
                var options = ServerOptions(
                    node: Configuration(
                        endpoint: MemoryMesh.endpoint(number), name: "n\(number)",
                        seeds: [MemoryMesh.endpoint(0)]))
                options.node.degree = 6
                options.gateway.clientAddress = "10.0.0.\(number + 1):7379"
                servers.mesh.append(options, id: Translator.id(number), seed: UInt64(number))
            }
            servers.run(for: .seconds(5))
            let sender = self.sender
            far = (0..<9).first { servers.mesh.hosts[sender].link(to: $0) == nil } ?? -1
            let passed = self.passed
            servers.mesh.judge = { from, _, frame in
                passed.see(from, frame)
                return .pass
            }
        }

        func attach(_ user: String, _ host: Int) -> ClientIndex {
            let client = servers.open(host)
            #expect(servers.exchange(client, "MESH.ATTACH \(user)\r\n", host).hasPrefix("+OK"))
            return client
        }

        func counter(_ counter: NodeCounter, _ host: Int) -> UInt64 {
            servers.mesh.hosts[host].server.node.counters[counter]
        }

        func sum(_ counter: NodeCounter) -> UInt64 {
            (0..<12).reduce(0) { $0 + self.counter(counter, $1) }
        }
    }

    @Test func `what a later build adds ends no link, holds nothing up, and is counted`() {
        let scene = Scene()
        let servers = scene.servers
        let areAllKnown = servers.mesh.allKnowEachOther(12)
        #expect(areAllKnown)
        #expect(scene.far >= 0)
        let lost = scene.sum(.linksLost)
        let users = ["plain", "body", "flag", "sender", "label"]
        let clients = users.map { scene.attach($0, scene.far) }
        let ann = scene.attach("ann", scene.sender)
        let author = servers.open(scene.sender)
        let bob = servers.open(scene.far)
        servers.run(for: .seconds(1))
        _ = servers.exchange(author, "MESH.REPORTS ON\r\n", scene.sender)
        var reports = ""
        for number in 0..<3 {
            for user in users {
                let answer = servers.exchange(
                    author, "MESH.SEND \(user) m\(number)\r\n", scene.sender)
                #expect(answer.hasPrefix(":1·"))
                reports += answer
            }
            _ = servers.exchange(bob, "MESH.SEND ann m\(number)\r\n", scene.far)
            servers.run(for: .milliseconds(200))
        }
        servers.run(for: .seconds(2))
        // A message that this build understands is delivered, without a label.
        let texts = zip(users, clients).map { servers.read($1, scene.far) }
        for (user, text) in zip(users, texts) {
            let got = text.matches(of: /·(m\d)·/).map { String($0.1) }
            #expect(
                got == (["plain", "sender"].contains(user) ? ["m0", "m1", "m2"] : []), "\(user)")
            #expect(!text.contains("SECR"))
        }
        let answers = servers.read(ann, scene.sender).matches(of: /·(m\d)·/).map { String($0.1) }
        #expect(answers == ["m0", "m1", "m2"])
        // The origin is told of the rest, and its client.
        #expect(scene.counter(.unsupported, scene.far) == 9)
        #expect(scene.counter(.unsupportedElsewhere, scene.sender) == 9)
        #expect(scene.counter(.undelivered, scene.sender) == 9)
        reports += servers.read(author, scene.sender)
        for user in ["body", "flag", "label"] {
            #expect(reports.ranges(of: "·\(user)·").count == 3, "\(user)")
        }
        // Forwarders have passed it on unread.
        #expect(scene.passed.bodies.contains(Translator.bodyNumber))
        #expect(scene.passed.flags.isSuperset(of: [Translator.flag, FrameFlags.labelled.rawValue]))
        // Each node has had what was for all, and skipped what came over a link.
        for host in 0..<9 { #expect(scene.counter(.unknownMessages, host) > 0, "\(host)") }
        #expect(scene.passed.arcs.contains(Translator.arcMessage))
        #expect(scene.passed.arcBodies.contains(Translator.bodyNumber))
        #expect(scene.sum(.linksLost) == lost)
        #expect(scene.sum(.protocolErrors) == 0)
        for host in 0..<12 {
            #expect(servers.mesh.hosts[host].server.node.flowSizes().retainedCount == 0)
        }
    }

    @Test func `far nodes know who is of a later build`() {
        let scene = Scene()
        for host in 0..<9 {
            for member in scene.servers.mesh.hosts[host].server.node.memberReports() {
                let isLater = (9..<12).contains { Translator.id($0) == member.id }
                let version = Greeting.currentVersion + (isLater ? 1 : 0)
                #expect(member.wireVersion == version, "\(member.id) at \(host)")
            }
        }
    }

    @Test
    func `an operation of a later build has its place in the log, and is repaired as it came`() {
        let scene = Scene()
        let servers = scene.servers
        let pattern = Array("news.*".utf8)
        let key = servers.mesh.hasher.key(.pattern, pattern)
        let snapshots = scene.sum(.snapshotsSent)
        servers.mesh.handle(
            .pattern(key, name: Slice(start: 0, count: pattern.count), .remove), bytes: pattern,
            scene.sender)
        let ann = scene.attach("ann", scene.sender)
        servers.run(for: .seconds(3))
        for host in 0..<11 { #expect(scene.counter(.unknownRecords, host) == 1, "\(host)") }
        #expect(scene.sum(.snapshotsSent) == snapshots)
        #expect(scene.sum(.recordsRepaired) == 0)
        let bob = servers.open(0)
        #expect(servers.exchange(bob, "MESH.SEND ann hi\r\n", 0) == ":1·")
        servers.run(for: .milliseconds(100))
        #expect(servers.read(ann, scene.sender).contains("·hi·"))
        // Asked for by an early host, and told by one.
        var told: [DirectoryRecord] = []
        servers.mesh.judge = { from, _, frame in
            if from == 1, frame[4] == FrameKind.link.rawValue,
                case .records(let records)? = try? Message.decode(
                    frame.span, from: Frame.prefixSize, to: frame.count)
            {
                told += records.records
            }
            return .pass
        }
        let request = RepairRequest(
            origin: Translator.id(scene.sender), life: 1_700_000_000_000 + UInt64(scene.sender),
            after: 0)
        var frame = ByteQueue()
        _ = frame.appendLinkFrame(.repair([request]))
        let bytes = frame.withSpan { $0.array(Slice(start: 0, count: $0.count)) }
        servers.mesh.inject(bytes, to: 1, from: 2)
        servers.run(for: .milliseconds(100))
        #expect(told.map(\.operation) == [.unknown(Translator.operation), .addKey])
    }

    @Test
    func `a message of a later build that overtakes another is answered when the flow passes it`() {
        let scene = Scene()
        let servers = scene.servers
        let plain = scene.attach("plain", scene.far)
        let body = scene.attach("body", scene.far)
        let author = servers.open(scene.sender)
        servers.run(for: .seconds(1))
        let sender = scene.sender
        var isDelayed = false
        servers.mesh.judge = { from, _, frame in
            guard from == sender, !isDelayed, frame[4] == FrameKind.routed.rawValue,
                frame[7] == RoutedBody.user.rawValue
            else { return .pass }
            isDelayed = true
            return .delay(.milliseconds(20))
        }
        for text in ["plain m0", "body m1", "plain m2"] {
            _ = servers.exchange(author, "MESH.SEND \(text)\r\n", sender)
        }
        servers.run(for: .milliseconds(1))
        #expect(scene.counter(.reordered, scene.far) == 2)
        #expect(scene.counter(.unsupported, scene.far) == 0)
        servers.run(for: .seconds(1))
        #expect(scene.counter(.unsupported, scene.far) == 1)
        #expect(scene.counter(.unsupportedElsewhere, sender) == 1)
        #expect(servers.read(body, scene.far) == "")
        let got = servers.read(plain, scene.far).matches(of: /·(m\d)·/).map { String($0.1) }
        #expect(got == ["m0", "m2"])
    }

    // MARK: Bounds

    /// A server and a peer that a test plays.
    private final class Pair {
        let servers = Servers(1)
        let link: LinkIndex

        init() { link = servers.mesh.accept(at: 0)! }

        func hello(isLater: Bool) {
            var greeting = Greeting(
                cluster: "smallworld",
                clusterID: servers.mesh.hasher.key(.room, Array("smallworld".utf8)).rawValue,
                purpose: .neighbour, stratum: 0,
                member: MemberRecord(
                    id: NodeID(7), incarnation: Incarnation(bootMilliseconds: 1_700_000_000_000),
                    status: .alive, endpoint: MemoryMesh.endpoint(9), name: "peer", zone: ""))
            if isLater { greeting.versionMax = Greeting.currentVersion + 1 }
            var frame = ByteQueue()
            _ = frame.appendLinkFrame(.hello(greeting))
            inject(frame.withSpan { $0.array(Slice(start: 0, count: $0.count)) })
        }

        @discardableResult
        func inject(_ frame: [UInt8]) -> Bool {
            let size = (0..<4).map { UInt8(truncatingIfNeeded: frame.count >> (8 * $0)) }
            servers.mesh.inject(size + frame[4...], to: 0, over: link)
            return servers.mesh.stands(link, at: 0)
        }

        func counter(_ counter: NodeCounter) -> UInt64 {
            servers.mesh.hosts[0].server.node.counters[counter]
        }
    }

    @Test(arguments: [false, true])
    func `an unknown message costs the link unless the peer has greeted as a later one`(
        isLater: Bool
    ) {
        let pair = Pair()
        pair.hello(isLater: isLater)
        #expect(pair.inject([0, 0, 0, 0, 1, 0, 0, 0, Translator.linkMessage]) == isLater)
        #expect(pair.counter(.unknownMessages) == (isLater ? 1 : 0))
        #expect(pair.counter(.protocolErrors) == (isLater ? 0 : 1))
        // Its messages that are known are held to their form.
        #expect(!pair.inject([0, 0, 0, 0, 1, 0, 0, 0, Message.Number.role.rawValue]))
    }

    @Test func `unknown messages for all nodes have a bound`() {
        let pair = Pair()
        pair.hello(isLater: true)
        func arc(_ count: Int) -> [UInt8] {
            [0, 0, 0, 0, 3, 0, 9, 0] + [UInt8](repeating: 1, count: 16)
                + [UInt8](repeating: Translator.arcMessage, count: count)
        }
        let most = Frame.unknownArcLengthMax - Frame.arcHeaderSize
        #expect(pair.inject(arc(most)))
        #expect(pair.counter(.unknownMessages) == 1)
        #expect(!pair.inject(arc(most + 1)))
    }

    @Test func `a node of version 1 is refused, and the log says so`() {
        let pair = Pair()
        var events: [LogEvent] = []
        pair.servers.mesh.witness = { _, effects, _ in
            for index in 0..<effects.count {
                if case .log(let event) = effects[index] { events.append(event) }
            }
        }
        // The rest of its greeting has another form.
        #expect(!pair.inject([0, 0, 0, 0, 1, 0, 0, 0, 1, 1, 0, 1, 0] + [9, 9, 9]))
        #expect(pair.counter(.linksRefused) == 1)
        #expect(pair.counter(.protocolErrors) == 0)
        let lines = events.map { event in
            pair.servers.mesh.hosts[0].server.line(for: event) { _ in MemoryMesh.endpoint(5) }
        }
        let reasons = lines.last?.fields.compactMap { field in
            if case ("reason", .text(let text)) = field { text } else { nil }
        }
        #expect(lines.map(\.event) == ["refused"] && lines.map(\.level) == [.warning])
        #expect(reasons == ["it speaks version 1 of the wire, this node versions 2 to 3"])
    }
}
