import MeshWire

@testable import MeshCore

/// A node's state as far as membership goes, a line a fact: what two views do not share has changed.
struct NodeView {
    /// In the order in which they are told.
    private var names: [String] = []
    private var values: [String: String] = [:]

    /// Of a node that has not begun.
    init() {}

    init(_ node: borrowing Node, _ words: Words) {
        if node.isReady { set("ready", "yes") }
        if node.join.isIntroduced { set("introduced", "yes") }
        if node.departure.hasBegun { set("leaving", "yes") }
        addMembers(node, words)
        addLinks(node, words)
        addDoubts(node, words)
        for change in node.gossip.pending where node.members.contains(change.index) {
            set(
                "to be told of \(words.name(node.members.id(of: change.index)))",
                change.isStatus ? "its status" : "its record")
        }
        for owner in node.lists.owners {
            set("list of \(words.name(owner))", words.names(node.lists.links(of: owner) ?? []))
        }
        addKept(node)
        addTimers(node, words)
        for counter in NodeCounter.allCases where node.counters[counter] > 0 {
            set("counter \(counter)", "\(node.counters[counter])")
        }
    }

    private mutating func set(_ name: String, _ value: String) {
        precondition(values[name] == nil, "\(name) twice")
        names.append(name)
        values[name] = value
    }

    private mutating func addMembers(_ node: borrowing Node, _ words: Words) {
        var departed: [String] = []
        for index in node.departed.indices {
            departed.append(words.name(node.members.id(of: index)))
        }
        for place in 0..<node.members.slotCount where node.members.contains(MemberIndex(place)) {
            let member = node.members[MemberIndex(place)]
            var value = "\(member.status) \(words.incarnation(member.incarnation))"
            if let due = member.deathDue { value += ", dead at \(words.time(due))" }
            if let due = member.dialNotBefore { value += ", dialled again at \(words.time(due))" }
            if member.dialFailures > 0 { value += ", \(member.dialFailures) failures" }
            if member.log.sequence > 0 {
                value += ", log \(member.log.sequence) with \(member.log.keyCount) keys"
            }
            if !member.log.isComplete { value += ", lacks up to \(member.log.target)" }
            if let due = member.log.repairDue { value += ", repair due \(words.time(due))" }
            set("member \(words.name(member.id))", value)
        }
        var ring: [NodeID] = []
        for entry in node.members.ring { ring.append(entry.id) }
        set("ring", words.names(ring))
        if !departed.isEmpty { set("departed", departed.joined(separator: " ")) }
    }

    private mutating func addLinks(_ node: borrowing Node, _ words: Words) {
        for index in node.links.indices where node.links[index].state != .free {
            let link = node.links[index]
            var value = "\(link.state)"
            if link.peer != NodeID(0) { value += " with \(words.name(link.peer))" }
            if link.isDoubted { value += ", doubted" }
            if link.isPeerLeaving { value += ", its peer leaves" }
            if link.isCompared { value += ", compared" }
            if link.mismatches > 0 { value += ", \(link.mismatches) mismatches" }
            set("link \(index.rawValue)", value)
        }
    }

    private mutating func addDoubts(_ node: borrowing Node, _ words: Words) {
        for accusation in node.suspicions.accusations {
            let subject = words.name(node.members.id(of: accusation.subject))
            set(
                "accusation of \(subject)",
                "\(accusation.evidence) by \(words.names(accusation.accusers))"
                    + (accusation.isVouched ? ", vouched" : "")
                    + ", due \(words.time(accusation.due))")
        }
        if node.suspicions.isolation.unanswered > 0 {
            set("unanswered dials", "\(node.suspicions.isolation.unanswered)")
        }
    }

    private mutating func addKept(_ node: borrowing Node) {
        let flows = node.flowSizes()
        if flows.retainedCount > 0 { set("messages kept", "\(flows.retainedCount)") }
        if flows.parkedCount > 0 { set("messages parked", "\(flows.parkedCount)") }
        if !node.queries.isEmpty { set("queries open", "\(node.queries.count)") }
        if node.directory.table.count > 0 { set("entries", "\(node.directory.table.count)") }
    }

    /// Those that come again and again whatever happens are left out; what they lead to is told.
    private mutating func addTimers(_ node: borrowing Node, _ words: Words) {
        for timer in Timer.allCases {
            guard let due = node.timers[timer] else { continue }
            switch timer {
            case .heartbeat, .redial, .linkList, .maintenance: continue
            default: set("timer \(timer)", words.time(due))
            }
        }
    }

    /// The differences between this view and an earlier one.
    func changes(since former: NodeView) -> [String] {
        var lines: [String] = []
        for name in names where former.values[name] != values[name] {
            let before = former.values[name].map { "\($0) → " } ?? ""
            lines.append("\(name): \(before)\(values[name]!)")
        }
        for name in former.names where values[name] == nil {
            lines.append("\(name): \(former.values[name]!) → none")
        }
        return lines
    }

    /// All of it whose name begins like this.
    func lines(_ beginnings: [String]) -> [String] {
        names.filter { name in beginnings.contains { name.hasPrefix($0) } }
            .map { "\($0): \(values[$0]!)" }
    }
}
