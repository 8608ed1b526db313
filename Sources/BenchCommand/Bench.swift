/// Runs benchmarks and keeps what they measured.
struct Bench {
    /// One line of the report.
    struct Row {
        var name: String
        var value: Double
        /// `ns` per operation, or `bytes` per key.
        var unit: String
        /// All allocations of the measured operations together; nil: not a matter of this row, or
        /// not countable here.
        var allocations: Int?
        var operations: Int
        /// The path of a message: `--check` insists on no allocation.
        var isHotPath: Bool

        var isFault: Bool { isHotPath && allocations != 0 }
    }

    var filter: String?
    var isQuick: Bool
    let canCount: Bool
    private(set) var rows: [Row] = []

    init(filter: String?, isQuick: Bool, canCount: Bool) {
        self.filter = filter
        self.isQuick = isQuick
        self.canCount = canCount
    }

    /// Whether a benchmark of this name, or of one that begins with it, is wanted.
    func wants(_ name: String) -> Bool {
        guard let filter else { return true }
        return name.contains(filter) || filter.hasPrefix(name)
    }

    /// Measures `operations` operations, all done by one call of `body`: the fastest of `rounds`,
    /// because what disturbs a measurement only ever makes it slower. `body` runs once more at
    /// first, to warm up and to let buffers grow; that round is not counted. Allocations are those
    /// of the worst round.
    mutating func measure(
        _ name: String, operations: Int, rounds: Int = 5, isHotPath: Bool = false,
        warmUp: Bool = true, _ body: () -> Void
    ) {
        guard filter.map({ name.contains($0) }) ?? true else {
            if !warmUp { body() }
            return
        }
        if warmUp { body() }
        let clock = ContinuousClock()
        var fastest = Duration.seconds(1_000_000)
        var allocations = 0
        for _ in 0..<(warmUp ? rounds : 1) {
            let before = AllocationCounter.count
            let start = clock.now
            body()
            let time = clock.now - start
            allocations = max(allocations, AllocationCounter.count - before)
            fastest = min(fastest, time)
        }
        rows.append(
            Row(
                name: name, value: fastest / .nanoseconds(1) / Double(operations), unit: "ns",
                allocations: canCount ? allocations : nil, operations: operations,
                isHotPath: isHotPath))
    }

    /// Measures stages that hand their results to the next one, each by itself: all of them run in
    /// order, `rounds` times after one round to warm up. Each stage does `operations` operations.
    /// They are the hot path: their allocations are those of all rounds together.
    mutating func measureStages(
        _ names: [String], operations: Int, rounds: Int, _ body: (_ stage: Int) -> Void
    ) {
        let clock = ContinuousClock()
        var fastest = [Duration](repeating: .seconds(1_000_000), count: names.count)
        var allocations = [Int](repeating: 0, count: names.count)
        for round in 0...rounds {
            for stage in names.indices {
                let before = AllocationCounter.count
                let start = clock.now
                body(stage)
                let time = clock.now - start
                if round == 0 { continue }
                allocations[stage] += AllocationCounter.count - before
                fastest[stage] = min(fastest[stage], time)
            }
        }
        for (stage, name) in names.enumerated() where filter.map({ name.contains($0) }) ?? true {
            rows.append(
                Row(
                    name: name, value: fastest[stage] / .nanoseconds(1) / Double(operations),
                    unit: "ns", allocations: canCount ? allocations[stage] : nil,
                    operations: operations * rounds, isHotPath: true))
        }
    }

    /// Adds a figure that is not a time.
    mutating func report(_ name: String, _ value: Double, unit: String) {
        guard filter.map({ name.contains($0) }) ?? true else { return }
        rows.append(
            Row(
                name: name, value: value, unit: unit, allocations: nil, operations: 1,
                isHotPath: false))
    }
}

/// Keeps the optimiser from leaving out what is measured.
@inline(never)
func keep(_ value: some BitwiseCopyable) {
    unsafe withUnsafeBytes(of: value) { unsafe kept ^= $0.first ?? 0 }
}

nonisolated(unsafe) private var kept: UInt8 = 0

/// SplitMix64 (Steele, Lea and Flood 2014).
struct Generator {
    var state: UInt64

    @inline(__always)
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ mixed >> 30) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
        return mixed ^ mixed >> 31
    }
}
