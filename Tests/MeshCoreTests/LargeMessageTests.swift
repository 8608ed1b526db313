import MeshWire
import Testing

@testable import MeshCore

/// A payload that begins with its number.
private func payload(_ number: UInt8, _ size: Int) -> [UInt8] {
    [number] + [UInt8](repeating: 7, count: size - 1)
}

/// Messages too large for one frame: in parts through the bulk lane, once, in their client's order, or
/// given up aloud.
@Suite struct LargeMessageTests {
    private static let mebibyte = 1024 * 1024

    /// The numbers of what has come to a host.
    private func numbers(_ mesh: SmallMesh, at host: Int) -> [UInt8] {
        mesh.payloads(at: host).map { $0[0] }
    }

    private func isPart(_ frame: [UInt8]) -> Bool {
        frame[4] == FrameKind.routed.rawValue && frame[7] == RoutedBody.part.rawValue
    }

    // MARK: Once and in order

    @Test func `no frame is large, and the message comes once and whole`() {
        let mesh = pairWithBob()
        var longest = 0
        mesh.judge = { _, _, frame in
            longest = max(longest, frame.count)
            return .pass
        }
        let message = (0..<5_000_000).map { UInt8(truncatingIfNeeded: $0 &* 31 >> 3) }
        #expect(mesh.send(message, from: 0, to: "bob", sender: 1) == 1)
        mesh.run(for: .milliseconds(100))
        #expect(mesh.payloads(at: 1) == [message])
        #expect(longest <= 33 * 1024)
        let sizes = mesh.hosts[0].node.flowSizes()
        #expect(sizes.retainedCount == 0 && sizes.retainedBytes == 0)
        #expect(mesh.hosts[0].node.flows.largeCount == 0)
        #expect(mesh.hosts[1].node.flows.reassembly.bytes == 0)
        #expect(mesh.hosts[0].node.counters[.retransmitted] == 0)
    }

    @Test func `clients' small messages pass a large one, its own client's wait behind it`() {
        let mesh = pairWithBob()
        // 3 ms a part: the large one takes about a tenth of a second.
        var line = 0
        mesh.judge = { from, _, frame in
            guard from == 0, self.isPart(frame) else { return .pass }
            line += 1
            return .delay(.milliseconds(Int64(3 * line)))
        }
        mesh.send(payload(1, 100), from: 0, to: "bob", sender: 1)
        mesh.send(payload(2, Self.mebibyte), from: 0, to: "bob", sender: 1)
        mesh.send(payload(3, 100), from: 0, to: "bob", sender: 1)
        mesh.send(payload(4, 100), from: 0, to: "bob", sender: 2)
        mesh.run(for: .milliseconds(5))
        #expect(numbers(mesh, at: 1) == [1, 4])
        mesh.run(for: .seconds(2))
        #expect(numbers(mesh, at: 1) == [1, 4, 2, 3])
        // All of it is acknowledged: the client is free again.
        mesh.judge = { _, _, frame in self.isPart(frame) ? .drop : .pass }
        mesh.send(payload(5, 100), from: 0, to: "bob", sender: 1)
        mesh.run(for: .milliseconds(5))
        #expect(numbers(mesh, at: 1) == [1, 4, 2, 3, 5])
    }

    @Test func `a large message does not overtake a small one that was lost`() {
        let mesh = pairWithBob()
        var isLost = false
        mesh.judge = { _, _, frame in
            guard case .message = classify(frame), !self.isPart(frame), !isLost else {
                return .pass
            }
            isLost = true
            return .drop
        }
        mesh.send(payload(1, 100), from: 0, to: "bob", sender: 1)
        mesh.send(payload(2, 100_000), from: 0, to: "bob", sender: 1)
        mesh.run(for: .milliseconds(100))
        #expect(numbers(mesh, at: 1) == [])
        mesh.run(for: .seconds(1))
        #expect(numbers(mesh, at: 1) == [1, 2])
    }

    @Test(arguments: 1...6) func `small and large keep their client's order whatever is lost`(
        _ seed: UInt64
    ) {
        let mesh = SmallMesh(4)
        mesh.attach("bob", at: 1)
        mesh.attach("bob", at: 2)
        mesh.forget()
        var random = RandomSource(seed: seed)
        mesh.judge = { _, _, frame in
            guard frame[4] == FrameKind.routed.rawValue else { return .pass }
            switch random.next(below: 12) {
            case 0, 1: return .drop
            case 2: return .double
            case 3: return .delay(.milliseconds(Int64(random.next(below: 30))))
            default: return .pass
            }
        }
        var sizes = RandomSource(seed: seed &+ 100)
        for number in 0..<60 as Range<UInt8> {
            let size = sizes.next(below: 3) == 0 ? 70_000 + sizes.next(below: 400_000) : 40
            mesh.send(payload(number, size), from: 0, to: "bob", sender: UInt64(number % 3) + 1)
            mesh.run(for: .milliseconds(Int64(sizes.next(below: 40))))
        }
        mesh.run(for: .seconds(5))
        mesh.judge = { _, _, _ in .pass }
        mesh.run(for: .seconds(10))
        for host in [1, 2] {
            let come = numbers(mesh, at: host)
            #expect(come.sorted() == Array(0..<60))
            for client in 0..<3 as Range<UInt8> {
                let own = come.filter { $0 % 3 == client }
                #expect(own == own.sorted(), "client \(client) at host \(host)")
            }
        }
        #expect(mesh.hosts[0].node.flowSizes().retainedBytes == 0)
    }

    @Test func `a forwarder that dies in the middle costs what was on its way`() {
        let mesh = SmallMesh(4)
        mesh.apart = (0, 1)
        mesh.reset(0, 1)
        mesh.run(for: .seconds(1))
        mesh.attach("bob", at: 1)
        mesh.forget()
        var parts = 0
        var first: Int?
        mesh.judge = { from, to, frame in
            guard self.isPart(frame), from == 0 else { return .pass }
            if first == nil { first = to }
            parts += 1
            return .delay(.milliseconds(Int64(parts)))
        }
        let message = payload(9, 8 * Self.mebibyte)
        mesh.send(message, from: 0, to: "bob", sender: 1)
        mesh.run(for: .milliseconds(40))
        let forwarder = first ?? 0
        #expect(forwarder >= 2 && mesh.payloads(at: 1) == [])
        mesh.crash(forwarder)
        mesh.run(for: .seconds(8))
        #expect(mesh.payloads(at: 1) == [message])
        // A window at the most is sent twice, of 256 parts.
        #expect(mesh.hosts[0].node.counters[.retransmitted] < 80)
    }

    // MARK: Ends

    @Test func `a dead node's large messages are reported, each once`() {
        let mesh = pairWithBob()
        mesh.judge = { _, _, frame in self.isPart(frame) ? .drop : .pass }
        for sender in 1...3 as ClosedRange<UInt64> {
            mesh.send(payload(1, Self.mebibyte), from: 0, to: "bob", sender: sender)
        }
        mesh.crash(1)
        mesh.run(for: .seconds(10))
        #expect(mesh.reports.map(\.sender) == [1, 2, 3])
        #expect(mesh.reports.allSatisfy { $0.name == "bob" && $0.count == 1 })
        #expect(mesh.hosts[0].node.flows.largeCount == 0)
        #expect(mesh.hosts[0].node.flowSizes().retainedBytes == 0)
    }

    @Test func `a large message that finds its user gone goes on to where the user is`() {
        let mesh = SmallMesh(3)
        mesh.attach("bob", at: 1)
        mesh.forget()
        mesh.judge = { from, _, frame in
            from == 0 && self.isPart(frame) ? .delay(.milliseconds(40)) : .pass
        }
        mesh.send(payload(1, 200_000), from: 0, to: "bob", sender: 1)
        mesh.send(payload(2, 200_000), from: 0, to: "bob", sender: 1)
        mesh.handle(1, .directory(mesh.key("bob"), .remove))
        mesh.handle(2, .directory(mesh.key("bob"), .add))
        mesh.run(for: .seconds(3))
        #expect(numbers(mesh, at: 1) == [])
        #expect(numbers(mesh, at: 2) == [1, 2])
        #expect(mesh.reports == [])
    }

    @Test func `a large volatile message goes only where none is under way`() {
        let mesh = pairWithBob()
        for number in 1...3 as ClosedRange<UInt8> {
            mesh.send(payload(number, 300_000), from: 0, to: "bob", isVolatile: true)
        }
        mesh.run(for: .seconds(1))
        #expect(numbers(mesh, at: 1) == [1])
        #expect(mesh.hosts[0].node.counters[.droppedVolatile] == 2)
    }

    // MARK: Bounds

    @Test func `a large volatile message takes no room from one that is to arrive`() {
        let mesh = pairWithBob()
        mesh.judge = { _, _, frame in self.isPart(frame) ? .drop : .pass }
        let size = 12 * Self.mebibyte
        mesh.send(payload(1, size), from: 0, to: "bob", isVolatile: true)
        #expect(mesh.send(payload(2, size), from: 0, to: "bob", sender: 2) == 1)
        mesh.judge = { _, _, _ in .pass }
        mesh.run(for: .seconds(10))
        #expect(numbers(mesh, at: 1).contains(2))
        #expect(mesh.hosts[0].node.counters[.undelivered] == 0)
    }

    @Test func `publishers of large messages wait, and nobody else does`() {
        let mesh = pairWithBob { $0.flows.windowBytes = Self.mebibyte }
        mesh.judge = { _, _, frame in self.isPart(frame) ? .drop : .pass }
        while mesh.congestion == nil {
            mesh.send(payload(1, 400_000), from: 0, to: "bob", sender: 1)
        }
        #expect(mesh.hosts[0].node.flows.largeCount == 3)
        #expect(mesh.congestion(of: "bob", at: 0) == nil)
        mesh.judge = { _, _, _ in .pass }
        mesh.run(for: .seconds(3))
        #expect(mesh.uncongestedCount == 1)
        let isAny = mesh.hosts[0].node.hasCongestion
        #expect(!isAny && numbers(mesh, at: 1).count == 3)
    }

    /// A part of a message of 60 MiB that the host never finishes.
    private func part(_ number: UInt32, from host: Int, in mesh: SmallMesh) -> [UInt8] {
        let piece = 32 * 1024
        var bytes = ByteQueue()
        bytes.appendRoutedHeader(
            length: Frame.routedHeaderSize + Frame.destinationSize + Part.headerSize + piece, .bulk,
            hopsLeft: 3, body: RoutedBody.part.rawValue, origin: mesh.hosts[host].node.id,
            key: Key(0), destinationCount: 1, number: 0, nameLength: 0, hopsTaken: 0)
        bytes.append(Destination(id: mesh.hosts[0].node.id, sequence: number, potential: 0))
        bytes.append(Part(start: Int(number - 1) * piece, size: 60 * Self.mebibyte))
        bytes.append([UInt8](repeating: 1, count: piece))
        return bytes.array
    }

    @Test func `members that begin many large messages take no more than there is room for`() {
        let room = 2 * Self.mebibyte
        let mesh = SmallMesh(7) { $0.flows.partialTotalBytes = room }
        mesh.attach("ann", at: 0)
        mesh.forget()
        // Five that begin and do not finish; the first goes on, as the oldest may.
        for number in 1...40 as ClosedRange<UInt32> {
            for host in 1...5 { mesh.inject(part(number, from: host, in: mesh), to: 0, from: host) }
        }
        #expect(mesh.hosts[0].node.flows.reassembly.bytes <= room + 40 * 32 * 1024)
        // An honest one has its turn when they have stood still for 10 s.
        mesh.send(payload(8, Self.mebibyte), from: 6, to: "ann", sender: 1)
        mesh.run(for: .seconds(5))
        #expect(numbers(mesh, at: 0) == [])
        mesh.run(for: .seconds(10))
        #expect(numbers(mesh, at: 0) == [8])
        #expect(mesh.gaps.count == 5)
    }

    @Test func `a part that does not go on where the last one ended ends its message`() {
        let mesh = pairWithBob()
        mesh.inject(part(1, from: 1, in: mesh), to: 0, from: 1)
        #expect(mesh.hosts[0].node.flows.reassembly.bytes == 32 * 1024)
        var second = part(2, from: 1, in: mesh)
        second[Frame.routedHeaderSize + Frame.destinationSize] = 9
        mesh.inject(second, to: 0, from: 1)
        #expect(mesh.hosts[0].node.flows.reassembly.bytes == 0 && mesh.gaps == [1])
        mesh.inject(part(3, from: 1, in: mesh), to: 0, from: 1)
        #expect(mesh.hosts[0].node.flows.reassembly.bytes == 0 && mesh.deliveries == [])
    }

    // MARK: What has not left

    @Test func `messages waiting at this node are not sent again while its line moves`() {
        let mesh = pairWithBob()
        mesh.judge = { _, _, frame in
            if case .message = classify(frame) { .drop } else { .pass }
        }
        mesh.send(payload(1, 100), from: 0, to: "bob", sender: 1)
        guard let link = mesh.link(from: 0, to: 1) else { return }
        for step in 0..<20 {
            mesh.handle(0, .backlog(link, bytes: 4_000_000 - step))
            mesh.run(for: .milliseconds(200))
        }
        #expect(mesh.hosts[0].node.counters[.retransmitted] == 0)
        // It stands still: that is no slow line any more.
        mesh.run(for: .seconds(2))
        #expect(mesh.hosts[0].node.counters[.retransmitted] > 0)
    }

    @Test func `messages that have left are sent again though others wait`() {
        let mesh = pairWithBob()
        mesh.judge = { _, _, frame in
            if case .message = classify(frame) { .drop } else { .pass }
        }
        mesh.send(payload(1, 100), from: 0, to: "bob", sender: 1)
        guard let link = mesh.link(from: 0, to: 1) else { return }
        // Fewer bytes wait than were given out since: none here, so the last heartbeat is what waits.
        mesh.run(for: .milliseconds(100))
        for _ in 0..<20 {
            mesh.handle(0, .backlog(link, bytes: 1))
            mesh.run(for: .milliseconds(100))
        }
        #expect(mesh.hosts[0].node.counters[.retransmitted] > 0)
    }
}
