import MeshWire
import Testing

@testable import MeshCore

/// Everything that is due has a timer, and every timer is due for something, after each event: while
/// frames are lost, links cut, processes stand still and die, in what order a seed says.
@Suite struct TimerTests {
    @Test(arguments: 1...12 as ClosedRange<UInt64>)
    func `after whatever event, timers and what is awaited agree`(seed: UInt64) {
        let troubles = Troubles(seed: seed)
        for _ in 0..<120 { troubles.next() }
        troubles.end()
        #expect(troubles.wrong.isEmpty, "\(troubles.wrong.sorted().prefix(8))")
        // Without these the rest says little.
        #expect(troubles.awaitedOnce.count >= 13, "\(troubles.awaitedOnce)")
    }

    @Test(arguments: Timer.allCases)
    func `a timer that is forgotten is missed as soon as something is awaited`(timer: Timer) {
        var isMissed = false
        // Those that only a start or an end has, what is done within a few events, and what is not asked.
        if [.seeds, .departure, .withdrawal, .probe].contains(timer) { return }
        for seed in 1...12 as ClosedRange<UInt64> where !isMissed {
            let troubles = Troubles(seed: seed)
            troubles.forgotten = timer
            for _ in 0..<120 where troubles.wrong.isEmpty { troubles.next() }
            isMissed = troubles.wrong.contains { $0.contains("\(timer)") }
        }
        #expect(isMissed)
    }

    @Test func `a timer that is set for nothing is seen`() {
        let mesh = SmallMesh(3)
        mesh.run(for: .seconds(3))
        let calm = mesh.hosts[0].node.wrongTimers()
        #expect(calm == [])
        for timer in Timer.allCases {
            let before = mesh.hosts[0].node.timers[timer]
            let isExact = mesh.hosts[0].node.awaited(timer).isExact
            mesh.hosts[0].node.timers[timer] = mesh.now + .milliseconds(isExact ? 1 : 100_000)
            let wrong = mesh.hosts[0].node.wrongTimers()
            #expect(wrong.count == 1, "\(timer): \(wrong)")
            mesh.hosts[0].node.timers[timer] = before
        }
        let after = mesh.hosts[0].node.wrongTimers()
        #expect(after == [])
    }
}

/// A mesh of seven to which things happen by chance.
private final class Troubles {
    private let mesh: SmallMesh
    private var random: RandomSource
    private let seed: UInt64
    private var up = Array(0..<7)
    private var frozen: Set<Int> = []
    /// The holders of users, the latest last.
    private var held: [(host: Int, user: String)] = []
    private let network: Network
    private let record = Record()

    /// The things that the judge and the inspector see, who may not look at the mesh.
    private final class Network {
        var cut: [(Int, Int)] = []
        var lossShare = 0
        var random: RandomSource
        init(_ seed: UInt64) { random = RandomSource(seed: seed &+ 100) }
    }

    private final class Record {
        var wrong: Set<String> = []
        var awaited: Set<Timer> = []
        var former: [Int: (due: [Instant?], isAwaited: [Bool])] = [:]
    }

    /// The faults, with their hosts.
    var wrong: Set<String> { record.wrong }
    /// The timers that something was awaited of.
    var awaitedOnce: Set<Timer> { record.awaited }
    /// One that all nodes forget after each event.
    var forgotten: Timer?

    init(seed: UInt64) {
        self.seed = seed
        random = RandomSource(seed: seed)
        network = Network(seed)
        mesh = SmallMesh(7) {
            $0.degree = seed % 2 == 0 ? 4 : 16
            $0.bucketsPerStep = 256
            $0.timing.reattachGrace = .seconds(3)
        }
        mesh.judge = { [network] from, to, frame in
            if network.cut.contains(where: { $0 == (from, to) || $0 == (to, from) }) {
                return .drop
            }
            // Connections lose nothing, and what else is lost stays lost: only what has a flow or a
            // repair of its own may be, and what asks for the repair.
            if frame[4] == FrameKind.link.rawValue {
                guard
                    case .repair = try? Message.decode(
                        frame.span, from: Frame.prefixSize, to: frame.count)
                else { return .pass }
            }
            let chance = network.random.next(below: 100)
            if chance < network.lossShare { return .drop }
            return chance == 99 ? .delay(.milliseconds(30)) : chance == 98 ? .double : .pass
        }
        for host in 0..<7 {
            for number in 0..<12 { mesh.handle(host, .watch(mesh.key("user\(number)"), .add)) }
        }
        mesh.inspector = { [record] host, node in Self.look(host, node, record) }
    }

    private static func look(_ host: Int, _ node: borrowing Node, _ record: Record) {
        record.wrong.formUnion(node.wrongTimers().map { "host \(host), \($0)" })
        let due = Timer.allCases.map { node.timers[$0] }
        let isAwaited = Timer.allCases.map { node.awaited($0).due != nil }
        for timer in Timer.allCases where isAwaited[timer.rawValue] { record.awaited.insert(timer) }
        // A timer is set anew only for something; not so when the node itself was stopped, which
        // gives everybody time anew (`forgivePause`).
        if let former = record.former[host],
            former.due.compactMap({ $0 }).min()! + node.configuration.timing.heartbeat >= node.now
        {
            for timer in Timer.allCases where !passing.contains(timer) {
                let place = timer.rawValue
                guard !former.isAwaited[place], !isAwaited[place], let set = due[place] else {
                    continue
                }
                if former.due[place].map({ $0 < set }) ?? true {
                    record.wrong.insert("host \(host), \(timer): set anew for nothing")
                }
            }
        }
        record.former[host] = (due, isAwaited)
    }

    /// Accusations that are decided at once, and connections that fail at once, have come and gone
    /// within an event; those who return stay in the queues of their absence until its time; and a
    /// node that is cut off dials on while its list of members changes.
    private static let passing: Set<Timer> = [.accusation, .handshake, .presence, .grace, .probe]

    private func pick(_ hosts: [Int]) -> Int { hosts[random.next(below: hosts.count)] }
    private func user() -> String { "user\(random.next(below: 12))" }

    /// One more thing happens, and some time passes.
    func next() {
        let host = pick(up)
        switch random.next(below: 20) {
        case 0...5: mesh.send([1, 2, 3], from: host, to: user())
        case 6: for _ in 0..<20 { mesh.send([2], from: host, to: user()) }
        case 7, 8:
            let user = user()
            held.append((host, user))
            mesh.handle(host, .directory(mesh.key(user), .add))
        case 9, 10:
            guard let (host, user) = held.popLast() else { break }
            mesh.handle(host, .directory(mesh.key(user), .remove))
        case 11:
            mesh.handle(
                host, .query(QueryID(UInt32(random.next(below: 1_000))), .everyone(subject: .empty))
            )
        case 12: network.lossShare = [0, 0, 10, 40, 90][random.next(below: 5)]
        case 13:
            network.cut =
                random.next(below: 2) == 0 ? [] : [(host, pick(up)), (pick(up), pick(up))]
        case 14: network.cut = (0..<7).filter { $0 != host }.map { (host, $0) }
        case 15: network.cut = []
        case 16:
            mesh.freeze(host)
            frozen.insert(host)
        case 17:
            for host in frozen.sorted() { mesh.thaw(host) }
            frozen = []
        case 18: mesh.reset(host, pick(up))
        default:
            if up.count > 4, random.next(below: 6) == 0, !frozen.contains(host) {
                up.removeAll { $0 == host }
                if random.next(below: 2) == 0 { mesh.crash(host) } else { mesh.leave(host) }
            }
        }
        let pause = [1, 5, 30, 200, 900][random.next(below: 5)]
        mesh.run(for: .milliseconds(Int64(1 + random.next(below: pause))))
        if let forgotten {
            for host in up { mesh.hosts[host].node.timers[forgotten] = nil }
            for host in up {
                record.wrong.formUnion(mesh.hosts[host].node.wrongTimers())
            }
        }
    }

    /// All is well again, and comes to an end.
    func end() {
        network.cut = []
        network.lossShare = 0
        for host in frozen.sorted() { mesh.thaw(host) }
        mesh.run(for: .seconds(12))
    }
}
