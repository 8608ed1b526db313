import Foundation
import MeshWire
import Testing

@testable import MeshCore

/// A few nodes and the flows between them, driven by random steps. After each event of a node all is
/// compared with ledgers that know nothing of how a node does it.
///
/// `FLOW_SEEDS=1000` tries that many seeds more.
@Suite struct `Flows driven by chance` {
    static let seeds: [UInt64] = {
        let more = ProcessInfo.processInfo.environment["FLOW_SEEDS"].flatMap { UInt64($0) } ?? 0
        return Array(1...4) + (0..<more).map { 1_000 + $0 }
    }()

    @Test(.timeLimit(.minutes(15)), arguments: seeds)
    func `of two nodes are as their ledgers say`(seed: UInt64) throws {
        let machine = try FlowMachine(["A", "B"], seed: seed)
        try machine.run(steps: 300)
        #expect(machine.faults == [], "seed \(seed)")
    }

    @Test(.timeLimit(.minutes(15)), arguments: seeds)
    func `over a forwarder are as their ledgers say`(seed: UInt64) throws {
        let machine = try FlowMachine(["A", "B", "C"], seed: seed)
        try machine.run(steps: 200)
        #expect(machine.faults == [], "seed \(seed)")
    }

    /// The check above must be able to fail.
    @Test func `are looked at in each event`() throws {
        let machine = try FlowMachine(["A", "B"], seed: 1)
        try machine.run(steps: 10)
        #expect(machine.observer.eventCount > 100)
        let origin = try machine.stage.actor("A")
        let destination = try machine.stage.actor("B")
        machine.observer.ledger(origin.record.id, destination.record.id).last &+= 1
        machine.observer.publish(.user, "bob", size: 10, sender: 1, from: origin)
        #expect(!machine.faults.isEmpty)
    }
}

/// Random steps of nodes that send to each other.
final class FlowMachine {
    let stage = Stage()
    let observer: FlowObserver
    private var random: RandomSource
    /// The node that lives at each place now.
    private var names: [String]
    /// Percentages of frames of messages that are lost and that come twice, and the longest delay.
    private var weather = (loss: 0, twice: 0, delay: 1)
    private var nextName: UInt8
    private var limits = FlowLimits()
    /// Many messages are large.
    private let isHeavy: Bool

    var faults: [String] { observer.faults }

    init(_ names: [String], seed: UInt64) throws {
        self.names = names
        nextName = UInt8(ascii: "A") + UInt8(names.count)
        random = RandomSource(seed: seed)
        isHeavy = seed > 2
        limits.windowBytes = 64 * 1024
        limits.windowCount = 40
        limits.totalBytes = seed % 4 == 2 ? 60_000 : 1_000_000
        limits.reorderCount = 16
        limits.reorderBytes = 20_000
        limits.reorderTotalBytes = 30_000
        observer = FlowObserver(stage, limits)
        let limits = limits
        stage.configure = {
            $0.flows = limits
            $0.timing.forget = .seconds(3)
        }
        for name in names { try begin(name, at: nil) }
        stage.observer = observer
        stage.fate = { [unowned self] in self.fate($0) }
        try stage.run(for: .seconds(3))
        for place in names.indices { attach(place) }
        try stage.run(for: .seconds(1))
        stage.words.began = stage.now
    }

    /// A node begins to live; the first and the last of three have no link with each other.
    private func begin(_ name: String, at place: Int?) throws {
        let former = place.map { names[$0] }
        let others = names.filter { stage.actors[$0]?.isUp == true && $0 != former }
        stage.start(name, seeds: others, at: former)
        if let place { names[place] = name }
        if names.count == 3 {
            stage.cuts = [[names[0], names[2]], [names[2], names[0]]]
        }
    }

    private func fate(_ frame: [UInt8]) -> [Delay] {
        // A frame that is no message and no answer to one goes by itself.
        guard frame[4] == FrameKind.routed.rawValue else { return [Stage.latency] }
        if random.next(below: 100) < weather.loss { return [] }
        let copies = random.next(below: 100) < weather.twice ? 2 : 1
        return (0..<copies).map { _ in
            .milliseconds(1) + .microseconds(Int64(random.next(below: weather.delay * 1_000)))
        }
    }

    // MARK: Steps

    func run(steps: Int) throws {
        for _ in 0..<steps where faults.isEmpty { try step() }
        try calmDown()
    }

    private func step() throws {
        let place = random.next(below: names.count)
        switch random.next(below: 200) {
        case 0..<90: publish(from: place)
        case 90..<160:
            try stage.run(for: .microseconds(Int64(random.next(below: 20_000))))
        case 160..<170: try stage.run(for: .milliseconds(Int64(random.next(below: 600))))
        case 170..<180:
            weather = (
                [0, 0, 5, 30, 60][random.next(below: 5)], [0, 10, 50][random.next(below: 3)],
                [1, 3, 30, 150][random.next(below: 4)]
            )
        case 180..<188: try resetLink()
        case 188..<193: try standStill(place)
        case 193..<195: try restart(place, isLeaving: random.next(below: 3) == 0)
        case 195..<198:
            stage.handle(names[place], "", .directory(key(users(place)[0]), .remove))
            try stage.run(for: .milliseconds(Int64(random.next(below: 300))))
            attach(place, count: 1)
        default: try stage.run(for: .milliseconds(3_000))
        }
    }

    /// Two users at each place.
    private func users(_ place: Int) -> [String] {
        [["ann", "amy"], ["bob", "ben"], ["cid", "cat"]][place]
    }

    private func key(_ user: String) -> Key {
        KeyHasher(cluster: "transcript").key(.user, Array(user.utf8))
    }

    private func attach(_ place: Int, count: Int = 2) {
        guard stage.actors[names[place]]!.isRunning else { return }
        for user in users(place).prefix(count) {
            stage.handle(names[place], "", .directory(key(user), .add))
        }
        if place > 0, count > 1 {
            let channel = KeyHasher(cluster: "transcript").key(.channel, Array("news".utf8))
            stage.handle(names[place], "", .directory(channel, .add))
        }
    }

    private func publish(from place: Int) {
        guard let actor = stage.actors[names[place]], actor.isRunning else { return }
        let burst = [3, 3, 3, 3, 3, 30, 30, 100][random.next(below: 8)]
        let target = random.next(below: names.count + 1)
        for _ in 0...random.next(below: burst) {
            let size =
                switch random.next(below: isHeavy ? 6 : 40) {
                case 0, 1: 4_000 + random.next(below: 200)
                case 2: 9_000
                default: 2 + random.next(below: 300)
                }
            let sender = UInt64(1 + random.next(below: 3))
            if target < names.count {
                // Of two who come back in one event it is not seen from outside who is first.
                let second = users(target)[1]
                let holders = actor.node.holderIndices(of: key(second))
                let isThere =
                    !holders.isEmpty
                    && !holders.contains {
                        actor.node.isWithdrawn($0)
                    }
                let user = isThere && random.next(below: 2) == 0 ? second : users(target)[0]
                observer.publish(
                    .user, user, size: size, sender: sender,
                    isVolatile: random.next(below: 20) == 0, from: actor)
            } else {
                observer.publish(.channel, "news", size: size, sender: sender, from: actor)
            }
        }
    }

    private func resetLink() throws {
        let place = random.next(below: names.count - 1)
        guard try stage.wire(names[place], names[place + 1]) != nil,
            stage.actors[names[place]]!.isRunning, stage.actors[names[place + 1]]!.isRunning
        else { return }
        try stage.reset(names[place], names[place + 1])
    }

    /// A receiver is gone for a while, rarely for so long that it is taken for dead.
    private func standStill(_ place: Int) throws {
        let actor = try stage.actor(names[place])
        actor.isFrozen = true
        let isLong = random.next(below: 6) == 0
        let delay = Delay.milliseconds(Int64(random.next(below: isLong ? 8_000 : 1_200)))
        for _ in 0..<3 {
            publish(from: random.next(below: names.count))
            try stage.run(for: Delay(nanoseconds: delay.nanoseconds / 3))
        }
        try stage.thaw(names[place])
    }

    private func restart(_ place: Int, isLeaving: Bool) throws {
        guard nextName <= UInt8(ascii: "Z"), stage.actors[names[place]]!.isUp else { return }
        if isLeaving {
            stage.handle(names[place], "", .leave)
            try stage.run(for: .milliseconds(Int64(random.next(below: 2_500))))
        }
        if stage.actors[names[place]]!.isUp { try stage.crash(names[place]) }
        try stage.run(for: .milliseconds(Int64(random.next(below: 2_000))))
        publish(from: random.next(below: names.count))
        try begin(String(UnicodeScalar(nextName)), at: place)
        nextName += 1
        try stage.run(for: .milliseconds(Int64(random.next(below: 2_000))))
        attach(place)
    }

    // MARK: The end

    /// When all is quiet nothing is kept, and all have all that was not given up.
    private func calmDown() throws {
        weather = (0, 0, 1)
        try stage.run(for: .seconds(25))
        for name in names {
            let actor = try stage.actor(name)
            let sizes = actor.node.flowSizes()
            if sizes.retainedCount + sizes.retainedBytes + sizes.reorderedBytes + sizes.parkedCount
                + sizes.congested > 0
            {
                observer.fault(actor, "still keeps \(sizes)")
            }
            for other in names where other != name {
                let id = try stage.actor(other).record.id
                let ledger = observer.ledger(actor.record.id, id)
                // A destination that has taken the origin for dead meanwhile has forgotten how far it was.
                if ledger.next != ledger.last &+ 1, ledger.last != ledger.lost,
                    ledger.acknowledged != ledger.last
                {
                    observer.fault(actor, "\(other) has \(ledger.next &- 1) of \(ledger.last)")
                }
            }
        }
    }
}
