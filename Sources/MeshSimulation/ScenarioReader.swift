import JSON5
import MeshCore

/// Reads a scenario from JSON5. Every key is in `Schema.keys`; any other is a mistake.
public enum ScenarioReader {
    /// - Throws: `JSON5Error` with line, column and what was expected.
    public static func read(_ text: String) throws(JSON5Error) -> Scenario {
        let root = Section(try JSON5.parse(text), path: "")
        var scenario = Scenario()
        try root.check()
        scenario.name = try root.text("name") ?? scenario.name
        scenario.about = try root.text("about") ?? ""
        guard let nodes = try root.integer("nodes", 1...Scenario.nodesMax) else {
            throw root.value.error("expected 'nodes', the number of nodes")
        }
        scenario.nodes = nodes
        scenario.degree = try root.integer("degree", 4...64) ?? scenario.degree
        scenario.duration = try root.seconds("duration") ?? scenario.duration
        scenario.settle = try root.seconds("settle") ?? scenario.settle
        scenario.keyBits = try root.integer("keyBits", 8...64) ?? scenario.keyBits
        scenario.timerLooks = try root.number("timerLooks", 0...20) ?? 0
        try readStart(root, &scenario)
        try readNetwork(root, &scenario)
        try readLoad(root, &scenario)
        scenario.churn = try churn(root)
        for value in try root.list("faults") ?? [] {
            scenario.faults.append(try fault(Section(value, path: "faults.")))
        }
        for value in try root.list("tolerate") ?? [] {
            guard case .text(let text) = value.value, let name = CheckerName(rawValue: text) else {
                let names = CheckerName.allCases.map(\.rawValue).joined(separator: ", ")
                throw value.error("expected a checker (\(names)), found \(value.kind)")
            }
            scenario.tolerated.append(name)
        }
        scenario.expectations = try expectations(root)
        return scenario
    }

    private static func readStart(
        _ root: Section, _ scenario: inout Scenario
    ) throws(JSON5Error) {
        guard let start = try root.section("start") else { return }
        scenario.start.over = try start.seconds("over") ?? scenario.start.over
        scenario.start.seeds = try start.integer("seeds", 1...64) ?? scenario.start.seeds
    }

    private static func readNetwork(
        _ root: Section, _ scenario: inout Scenario
    ) throws(JSON5Error) {
        if let zones = try root.section("zones") {
            guard case .object(let members) = zones.value.value else { return }
            for member in members {
                let zone = Section(member.value, path: "zones.*.")
                try zone.check()
                scenario.zones.append(
                    Scenario.Zone(
                        name: member.key, share: try zone.number("share", 0...1e9) ?? 1,
                        latency: try zone.milliseconds("latency")))
            }
        }
        guard let network = try root.section("network") else { return }
        scenario.network.latency =
            try network.milliseconds("latency") ?? scenario.network.latency
        scenario.network.jitter = try network.milliseconds("jitter") ?? scenario.network.jitter
        scenario.network.connectTimeout =
            try network.seconds("connectTimeout") ?? scenario.network.connectTimeout
        if let rate = try network.number("megabitsPerSecond", 0.001...1e6) {
            scenario.network.bytesPerSecond = Int64(rate * 125_000)
        }
        for value in try network.list("between") ?? [] {
            let pair = Section(value, path: "network.between.")
            try pair.check()
            guard let one = try pair.text("from"), let other = try pair.text("to"),
                let latency = try pair.milliseconds("latency")
            else { throw value.error("expected 'from', 'to' and 'latency' of two zones") }
            for name in [one, other] where !scenario.zones.contains(where: { $0.name == name }) {
                throw value.error("expected the name of a zone, found '\(name)'")
            }
            scenario.network.between.append((one, other, latency))
        }
    }

    private static func readLoad(
        _ root: Section, _ scenario: inout Scenario
    ) throws(JSON5Error) {
        if let users = try root.section("users") {
            scenario.users.count = try users.integer("count", 0...10_000_000) ?? 0
            scenario.users.over = try users.seconds("over") ?? scenario.users.over
            scenario.users.arrivals = try users.number("arrivals", 0...1e7) ?? 0
            scenario.users.departures = try users.number("departures", 0...1e7) ?? 0
            scenario.users.moves = try users.number("moves", 0...1e7) ?? 0
            scenario.users.zipf = try users.number("zipf", 0...4) ?? 0
        }
        if let channels = try root.section("channels") {
            scenario.channels.count = try channels.integer("count", 0...1_000_000) ?? 0
            scenario.channels.subscribers =
                try channels.amount("subscribers") ?? scenario.channels.subscribers
        }
        if let messages = try root.section("messages") {
            scenario.messages.toUsers = try messages.number("toUsers", 0...1e7) ?? 0
            scenario.messages.toChannels = try messages.number("toChannels", 0...1e7) ?? 0
            scenario.messages.publishers =
                try messages.integer("publishers", 0...20_000) ?? 0
            scenario.messages.size =
                try messages.integer("size", 4...1_048_576) ?? scenario.messages.size
            scenario.messages.large = try messages.number("large", 0...1e7) ?? 0
            scenario.messages.largeSize =
                try messages.integer("largeSize", 65_537...67_108_864)
                ?? scenario.messages.largeSize
            scenario.messages.from = try messages.seconds("from") ?? .zero
            scenario.messages.to = try messages.seconds("to")
        }
        if let sessions = try root.section("sessions") {
            scenario.sessions.count = try sessions.integer("count", 0...100_000) ?? 0
            scenario.sessions.counted = try sessions.number("counted", 0...1) ?? 0
            scenario.sessions.slow = try sessions.number("slow", 0...1) ?? 0
            scenario.sessions.breaks = try sessions.number("breaks", 0...1e6) ?? 0
            scenario.sessions.messages = try sessions.number("messages", 0...1e7) ?? 0
            scenario.sessions.size = try sessions.integer("size", 0...1_000_000) ?? 0
            scenario.sessions.kept = try sessions.integer("kept", 0...1_000_000) ?? 0
            scenario.sessions.watchers = try sessions.integer("watchers", 0...100_000) ?? 0
            scenario.sessions.probes = try sessions.number("probes", 0...1e6) ?? 0
        }
        if let rooms = try root.section("rooms") {
            scenario.rooms.count = try rooms.integer("count", 0...1_000) ?? 0
            scenario.rooms.members = try rooms.integer("members", 0...100_000) ?? 0
            scenario.rooms.watchers = try rooms.integer("watchers", 0...10_000) ?? 0
            scenario.rooms.changes = try rooms.number("changes", 0...1e6) ?? 0
            scenario.rooms.says = try rooms.number("says", 0...1e6) ?? 0
        }
        if let flows = try root.section("flows") { scenario.flows = try flowLimits(flows) }
    }

    private static func flowLimits(_ section: Section) throws(JSON5Error) -> FlowLimits {
        var limits = FlowLimits()
        let most = 1 << 40
        limits.windowBytes = try section.integer("windowBytes", 65_536...most) ?? limits.windowBytes
        limits.windowCount = try section.integer("windowCount", 1...65_536) ?? limits.windowCount
        limits.totalBytes = try section.integer("totalBytes", 65_536...most) ?? limits.totalBytes
        limits.reorderCount = try section.integer("reorderCount", 2...65_536) ?? limits.reorderCount
        guard limits.reorderCount & (limits.reorderCount - 1) == 0 else {
            throw section.value.error("expected a power of two for 'reorderCount'")
        }
        limits.reorderBytes = try section.integer("reorderBytes", 0...most) ?? limits.reorderBytes
        limits.parkedCount = try section.integer("parkedCount", 0...65_536) ?? limits.parkedCount
        limits.parkedBytes = try section.integer("parkedBytes", 0...most) ?? limits.parkedBytes
        return limits
    }

    private static func churn(_ root: Section) throws(JSON5Error) -> Scenario.Churn? {
        guard let section = try root.section("churn") else { return nil }
        var churn = Scenario.Churn()
        churn.from = try section.seconds("from") ?? .zero
        churn.to = try section.seconds("to")
        churn.joins = try section.number("joins", 0...1e6) ?? 0
        churn.leaves = try section.number("leaves", 0...1e6) ?? 0
        churn.crashes = try section.number("crashes", 0...1e6) ?? 0
        return churn
    }

    private static func fault(_ section: Section) throws(JSON5Error) -> Scenario.Fault {
        try section.check()
        let kinds = Scenario.Fault.Kind.allCases.filter { section.has($0.rawValue) }
        guard kinds.count == 1, let kind = kinds.first else {
            let names = Scenario.Fault.Kind.allCases.map(\.rawValue).joined(separator: ", ")
            throw section.value.error("expected one kind of fault: \(names)")
        }
        guard let at = try section.seconds("at") else {
            throw section.value.error("expected 'at', the time of the fault in seconds")
        }
        var fault = Scenario.Fault(kind: kind, at: at)
        if kind == .partition {
            for part in try section.list("partition") ?? [] {
                guard case .number(let share) = part.value, share > 0, share <= 1e9 else {
                    throw part.error("expected the share of a part, found \(part.kind)")
                }
                fault.parts.append(share)
            }
            guard fault.parts.count >= 2 else {
                throw section.value.error("expected a list of at least two shares of nodes")
            }
        } else {
            let most = kind == .join ? Scenario.nodesMax : 1_000_000
            fault.amount = try section.amount(kind.rawValue, countMax: most) ?? .count(1)
        }
        fault.lasts = try section.seconds("for") ?? (kind == .restart ? .seconds(1) : fault.lasts)
        fault.by = try section.milliseconds("by") ?? fault.by
        fault.drift = Int64(try section.number("drift", -100_000...100_000) ?? 0)
        fault.bytes = try section.integer("bytes", 64...65_535) ?? fault.bytes
        fault.times = try section.integer("times", 1...100_000) ?? 1
        fault.every = try section.seconds("every") ?? fault.every
        // The last time must not be beyond what an instant can say.
        guard Double(fault.every.nanoseconds) * Double(fault.times) <= 1e18 else {
            throw section.value.error("expected less than 30 years for 'times' and 'every'")
        }
        return fault
    }

    private static func expectations(
        _ root: Section
    ) throws(JSON5Error) -> [Scenario.Expectation] {
        guard let value = root["expect"] else { return [] }
        guard case .object(let members) = value.value else {
            throw value.error("expected an object of metrics and bounds, found \(value.kind)")
        }
        var expectations: [Scenario.Expectation] = []
        for member in members {
            guard Metrics.names.contains(member.key) else {
                throw member.error(
                    "expected a metric (\(Metrics.names.joined(separator: ", "))), "
                        + "found '\(member.key)'")
            }
            var expectation = Scenario.Expectation(metric: member.key)
            switch member.value.value {
            case .number(let most): expectation.most = most
            case .list(let bounds) where bounds.count == 2:
                expectation.least = try bound(bounds[0])
                expectation.most = try bound(bounds[1])
            default:
                throw member.value.error(
                    "expected the highest value, or [lowest, highest], found "
                        + member.value.kind)
            }
            expectations.append(expectation)
        }
        return expectations
    }

    private static func bound(_ value: JSON5) throws(JSON5Error) -> Double? {
        switch value.value {
        case .number(let bound): return bound
        case .null: return nil
        default: throw value.error("expected a number or null, found \(value.kind)")
        }
    }
}

/// One object of the file, and the part of the schema that its keys are in.
private struct Section {
    let value: JSON5
    let path: String

    init(_ value: JSON5, path: String) {
        self.value = value
        self.path = path
    }

    private var members: [JSON5.Member] {
        if case .object(let members) = value.value { members } else { [] }
    }

    subscript(key: String) -> JSON5? { members.first { $0.key == key }?.value }
    func has(_ key: String) -> Bool { self[key] != nil }

    /// It is an object, and all of its keys are known.
    func check() throws(JSON5Error) {
        guard case .object(let members) = value.value else {
            throw value.error("expected an object, found \(value.kind)")
        }
        let known = Schema.keys.map(\.path).filter {
            $0.hasPrefix(path) && !$0.dropFirst(path.count).contains(".")
        }.map { String($0.dropFirst(path.count)) }
        for member in members where !known.contains("*") && !known.contains(member.key) {
            throw member.error(
                "expected one of \(known.joined(separator: ", ")), found '\(member.key)'")
        }
    }

    func section(_ key: String) throws(JSON5Error) -> Section? {
        guard let value = self[key] else { return nil }
        let section = Section(value, path: path + key + ".")
        try section.check()
        return section
    }

    func list(_ key: String) throws(JSON5Error) -> [JSON5]? {
        guard let value = self[key] else { return nil }
        guard case .list(let values) = value.value else {
            throw value.error("expected a list for '\(key)', found \(value.kind)")
        }
        return values
    }

    func text(_ key: String) throws(JSON5Error) -> String? {
        guard let value = self[key] else { return nil }
        guard case .text(let text) = value.value else {
            throw value.error("expected a text for '\(key)', found \(value.kind)")
        }
        return text
    }

    func number(
        _ key: String, _ range: ClosedRange<Double>
    ) throws(JSON5Error) -> Double? {
        guard let value = self[key] else { return nil }
        guard case .number(let number) = value.value, range.contains(number) else {
            throw value.error(
                "expected a number from \(decimal(range.lowerBound)) to "
                    + "\(decimal(range.upperBound)) for '\(key)', found \(value.kind)")
        }
        return number
    }

    func integer(_ key: String, _ range: ClosedRange<Int>) throws(JSON5Error) -> Int? {
        guard let value = self[key] else { return nil }
        guard case .number(let number) = value.value, let integer = Int(exactly: number),
            range.contains(integer)
        else {
            throw value.error(
                "expected a whole number from \(range.lowerBound) to \(range.upperBound) "
                    + "for '\(key)', found \(value.kind)")
        }
        return integer
    }

    func seconds(_ key: String) throws(JSON5Error) -> Delay? {
        guard let value = self[key] else { return nil }
        guard case .number(let number) = value.value, number >= 0, number <= 1e6 else {
            throw value.error("expected seconds for '\(key)', 0 to 1000000, found \(value.kind)")
        }
        return Delay(nanoseconds: Int64((number * 1e9).rounded()))
    }

    func milliseconds(_ key: String) throws(JSON5Error) -> Delay? {
        guard let value = self[key] else { return nil }
        guard case .number(let number) = value.value, number >= 0, number <= 1e7 else {
            throw value.error(
                "expected milliseconds for '\(key)', 0 to 10000000, found \(value.kind)")
        }
        return Delay(nanoseconds: Int64((number * 1e6).rounded()))
    }

    /// A number of nodes or links, or a share such as "30%".
    func amount(
        _ key: String, countMax: Int = 1_000_000
    ) throws(JSON5Error) -> Scenario.Amount? {
        guard let value = self[key] else { return nil }
        switch value.value {
        case .number(let number):
            guard let count = Int(exactly: number), count >= 0 else { break }
            guard count <= countMax else {
                throw value.error("expected at most \(countMax) for '\(key)'")
            }
            return .count(count)
        case .text(let text):
            if text == "all" { return .share(1) }
            if text.hasSuffix("%"), let share = Double(text.dropLast()), (0...100).contains(share) {
                return .share(share / 100)
            }
        default: break
        }
        throw value.error(
            "expected a number, a share such as \"30%\", or \"all\" for '\(key)', "
                + "found \(value.kind)")
    }
}
