/// The summary of the demo: figures, and whether they are what Smallworld promises.
struct DemoSummary {
    /// A killed node is noticed by all others in this time.
    static let detectionMax = Duration.seconds(1)

    /// Why the demo is not sound, in words; empty: it is.
    let faults: [String]
    let text: String

    /// - Parameters:
    ///   - model: after the last message has had its time to arrive.
    ///   - needsKill: a run that was not cut short has killed a node.
    init(_ model: DemoModel, needsKill: Bool) {
        let losses = DemoLosses(
            model.ledger.missing(before: model.now), model.kills, isFullMesh: model.isFullMesh)
        faults = Self.faults(model, losses, needsKill: needsKill)
        text = Self.text(model, losses, faults)
    }

    var isSound: Bool { faults.isEmpty }

    /// One hop where each node has a link to each other; of a hundred nodes the mean is 1.9
    /// (MeshCore.docc/Overlay.md). A message may take one more while links are replaced.
    static func meanHopsMax(isFullMesh: Bool) -> Double { isFullMesh ? 1.1 : 2.0 }

    private static func faults(
        _ model: DemoModel, _ losses: DemoLosses, needsKill: Bool
    ) -> [String] {
        var faults = model.faults
        let ledger = model.ledger
        func check(_ count: Int, _ text: String) {
            if count > 0 { faults.append("\(text): \(Words.count(count))") }
        }
        if ledger.delivered == 0 { faults.append("nothing was delivered") }
        check(losses.unexplained, "copies lost for no reason that is known")
        check(ledger.duplicates, "copies that came twice")
        check(ledger.outOfOrder, "copies out of order")
        if let hops = model.meanHops {
            if hops < 1 || hops > meanHopsMax(isFullMesh: model.isFullMesh) {
                faults.append("\(Words.decimal(hops, digits: 2)) hops in the mean")
            }
        } else {
            faults.append("no message crossed the mesh")
        }
        if needsKill, model.kills.isEmpty { faults.append("no node was killed") }
        for kill in model.kills {
            let name = "node \(model.nodes[kill.node].number)"
            if let dropped = kill.droppedAt {
                if dropped - kill.killedAt > detectionMax {
                    let took = Words.milliseconds(dropped - kill.killedAt)
                    faults.append("the others took \(took) to drop \(name)")
                }
            } else {
                faults.append("not all others have dropped \(name)")
            }
            if kill.knownAt == nil {
                faults.append("not all others know where the users of \(name) are")
            }
        }
        for node in model.nodes {
            if case .fallen = node.status {
                faults.append("node \(node.number) ended by itself")
            }
        }
        let presences = model.presences
        check(presences.expected - presences.seen, "comings and goings that were not told")
        check(presences.unexpected, "comings and goings told that did not happen")
        check(
            presences.askedAbsent - presences.refusedAbsent,
            "messages to users who were away, not refused")
        return faults
    }

    private static func text(
        _ model: DemoModel, _ losses: DemoLosses, _ faults: [String]
    ) -> String {
        let ledger = model.ledger
        let talked = (model.talkEnded ?? model.now) - (model.talkBegan ?? model.now)
        var lines = [
            "Smallworld demo: \(Words.count(model.nodeCountMax, "node")), "
                + "\(Words.count(model.users.count, "user")), \(Words.seconds(talked)) of talk", "",
        ]
        func row(_ name: String, _ value: String, _ remark: String = "") {
            let line =
                "  " + Words.padded(name, to: 18) + Words.padded(value, to: 10, right: true)
                + (remark.isEmpty ? "" : "   " + remark)
            lines.append(line)
        }
        func row(_ name: String, _ value: Int, _ remark: String = "") {
            row(name, Words.count(value), remark)
        }
        row(
            "sent", ledger.sent,
            "\(Words.count(ledger.sentToUsers)) to users, \(Words.count(ledger.sentToChannel)) to "
                + "\(DemoModel.channel): \(Words.count(ledger.expected)) copies")
        row("delivered", ledger.delivered, "copies, each checked by its receiver")
        row("lost", losses.unexplained)
        row("duplicates", ledger.duplicates)
        row("out of order", ledger.outOfOrder)
        addKilled(model, losses, row)
        if let hops = model.meanHops {
            row(
                "mean hops", Words.decimal(hops, digits: 2),
                model.isFullMesh ? "each node has a link to each other" : "")
        }
        if let median = ledger.latency.quantile(0.5), let slowest = ledger.latency.quantile(0.99) {
            row("latency", Words.milliseconds(median), "99 % within " + Words.milliseconds(slowest))
        }
        let presences = model.presences
        if presences.expected > 0 {
            row(
                "presence", presences.seen,
                "of \(Words.count(presences.expected)) comings and goings, "
                    + "each within \(Words.milliseconds(presences.slowest))")
        }
        for kill in model.kills { lines += ["", account(kill, model)] }
        lines += ["", faults.isEmpty ? "Sound." : "NOT sound:"]
        lines += faults.map { "  " + $0 }
        return lines.joined(separator: "\n") + "\n"
    }

    private static func addKilled(
        _ model: DemoModel, _ losses: DemoLosses, _ row: (String, Int, String) -> Void
    ) {
        guard !model.kills.isEmpty else { return }
        row(
            "died with a node", losses.withKilled,
            "\(losses.toKilled) to its users, \(losses.fromKilled) by them"
                + (model.isFullMesh ? "" : ", \(losses.throughKilled) in passing"))
        row("refused", losses.refused, "to its users: the sender was told at once")
    }

    private static func account(_ kill: DemoKill, _ model: DemoModel) -> String {
        let name = "node \(model.nodes[kill.node].number)"
        func after(_ time: Duration?) -> String {
            time.map { Words.milliseconds($0 - kill.killedAt) } ?? "never"
        }
        var text =
            "  \(name) killed after \(Words.seconds(kill.killedAt - (model.talkBegan ?? .zero)))\n"
        text += "    dropped by all others   \(after(kill.droppedAt))"
        if kill.users.isEmpty { return text }
        let users = Words.list(kill.users.map { model.users[$0].name })
        text += "\n    users on other nodes    \(after(kill.usersBackAt))   \(users)"
        // With one node left nobody writes from another one.
        if kill.flowingAt != nil {
            text += "\n    first message to them   \(after(kill.flowingAt))"
        }
        text += "\n    known everywhere        \(after(kill.knownAt))"
        return text
    }
}
