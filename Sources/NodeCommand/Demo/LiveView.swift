/// The picture in the terminal: ring and figures, who is where, what has happened, how to join.
///
///     ┌ title ──────────────────────────────┐
///     │ ring            figures             │
///     │                 who is where        │
///     │ events                              │
///     └ how to join ────────────────────────┘
///
/// Made for 80 × 24 and more; smaller terminals see its upper left part.
enum LiveView {
    static func lines(
        _ model: DemoModel, _ layout: RingLayout, columns: Int, rows: Int
    ) -> [InkLine] {
        let rows = max(rows, 12)
        let columns = max(columns, 40)
        // Title, join line, two lines of space and one for the way of a message.
        let eventCount = max(1, min(10, 5 + (rows - 24) / 3))
        let mainHeight = min(rows - 5 - eventCount, 40)
        let ringWidth = min(mainHeight * 2 + 10, columns / 2)

        var lines = [title(model, columns)]
        let ring = RingView.lines(model, layout, width: ringWidth, height: mainHeight)
        let panel = panel(model, width: columns - ringWidth - 3, height: mainHeight)
        for row in 0..<mainHeight {
            var line = InkLine(" ")
            line.add(ring[row])
            if row < panel.count {
                line.add("  ")
                line.add(panel[row])
            }
            lines.append(line)
        }
        lines.append(way(model))
        lines.append(InkLine())
        let events = events(model, eventCount)
        lines += events
        while lines.count < rows - 2 { lines.append(InkLine()) }
        lines.append(InkLine())
        lines.append(joinLine(model))
        return lines.prefix(rows).map { $0.cut(to: columns) }
    }

    private static func title(_ model: DemoModel, _ columns: Int) -> InkLine {
        let nodes = model.nodes.count { !$0.status.isGone }
        var line = InkLine(" Smallworld", .strong)
        line.add(
            "  \(Words.count(nodes, "node")), \(Words.count(model.users.count, "user"))", .plain)
        line.add("  ·  ", .faint)
        let (state, ink) = state(model)
        line.add(state, ink)
        let clock = Words.clock(model.talkBegan.map { model.now - $0 } ?? .zero)
        let end = model.talkEnds.map { ends in
            " / " + Words.clock(model.talkBegan.map { ends - $0 } ?? .zero)
        }
        let right = clock + (end ?? "") + " "
        line.pad(to: columns - right.count)
        line.add(right, .faint)
        return line
    }

    private static func state(_ model: DemoModel) -> (String, Ink) {
        switch model.phase {
        case .starting:
            let serving = model.servingNodes.count
            return (
                "starting: \(serving) of \(Words.count(model.nodes.count, "node")) ready", .faint
            )
        case .ending: return ("waiting for the last messages", .faint)
        case .talking: break
        }
        if let kill = model.kills.last, kill.knownAt == nil || kill.droppedAt == nil {
            return ("node \(model.nodes[kill.node].number) is dead, the mesh closes the gap", .bad)
        }
        return ("every message is checked", .faint)
    }

    // MARK: Figures

    private static func panel(_ model: DemoModel, width: Int, height: Int) -> [InkLine] {
        var lines = figures(model) + [InkLine()]
        // As high as the ring's top, where there is room.
        if height >= 18 { lines.insert(InkLine(), at: 0) }
        lines += places(model, width: width, height: height - lines.count)
        return lines
    }

    private static func figures(_ model: DemoModel) -> [InkLine] {
        func row(_ name: String, _ second: String, _ total: String, _ ink: Ink) -> InkLine {
            var line = InkLine(Words.padded(name, to: 16), .faint)
            line.add(Words.padded(second, to: 8, right: true), ink)
            line.add(Words.padded(total, to: 13, right: true), ink)
            return line
        }
        func count(_ number: Int) -> String { Words.count(number) }
        let rates = model.rates
        let ledger = model.ledger
        var head = InkLine(Words.padded("", to: 16))
        head.add("a second        total", .faint)
        let lost = model.losses.unexplained
        let withKilled = model.losses.withKilled
        var lines = [
            head,
            row("sent", count(rates.sent), count(ledger.sent), .strong),
            row("delivered", count(rates.delivered), count(ledger.delivered), .strong),
            row("lost", count(rates.lost), count(lost), lost > 0 ? .bad : .good),
            row("died with a node", "", count(withKilled), withKilled > 0 ? .plain : .faint),
        ]
        var hops = InkLine(Words.padded("mean hops", to: 16), .faint)
        let hopsNow = rates.meanHops.map { Words.decimal($0, digits: 2) } ?? "-"
        let hopsAll = model.meanHops.map { Words.decimal($0, digits: 2) } ?? "-"
        hops.add(Words.padded(hopsNow, to: 8, right: true), .strong)
        hops.add(Words.padded(hopsAll, to: 13, right: true), .strong)
        lines.append(hops)
        var latency = InkLine(Words.padded("latency", to: 16), .faint)
        latency.add(
            Words.padded(rates.median.map(Words.milliseconds) ?? "-", to: 8, right: true), .strong)
        latency.add(
            Words.padded(
                rates.slowest.map { "99 % " + Words.milliseconds($0) } ?? "", to: 13, right: true),
            .faint)
        lines.append(latency)
        return lines
    }

    // MARK: Who is where

    private static func places(_ model: DemoModel, width: Int, height: Int) -> [InkLine] {
        guard height > 0 else { return [] }
        let shown = model.nodes.indices.filter { model.isShown($0) }
        if shown.count <= height {
            return shown.map { node in
                var line = InkLine()
                let number = Words.padded(String(model.nodes[node].number), to: 2, right: true)
                add(node, number, model, to: &line, isWhole: true)
                return line
            }
        }
        // Too many for a line each: columns, and if that is not enough those with users, first those
        // that are gone.
        let busy =
            shown.filter { model.nodes[$0].status.isGone }
            + shown.filter { !model.users(on: $0).isEmpty }
        func cells(_ nodes: [Int]) -> [InkLine] {
            nodes.map { node in
                var cell = InkLine()
                let number = Words.padded(String(model.nodes[node].number), to: 2, right: true)
                add(node, number, model, to: &cell, isWhole: false)
                return cell
            }
        }
        let all = cells(shown)
        let cellWidth = min((all.map(\.width).max() ?? 0) + 2, (width + 2) / 2)
        let columnCount = max(1, (width + 2) / max(cellWidth, 1))
        let fit = columnCount * height
        var cells = shown.count <= fit ? all : Array(cells(busy).prefix(fit - 1))
        guard !cells.isEmpty else { return [] }
        let rest = shown.count - cells.count
        if rest > 0 { cells.append(InkLine("  + \(rest) more", .faint)) }
        let rowCount = min(height, (cells.count + columnCount - 1) / columnCount)
        return (0..<rowCount).map { row in
            var line = InkLine()
            for column in 0..<columnCount {
                let index = column * rowCount + row
                guard index < cells.count else { break }
                line.pad(to: column * cellWidth)
                line.add(cells[index].cut(to: cellWidth - 2))
            }
            return line
        }
    }

    private static func add(
        _ node: Int, _ number: String, _ model: DemoModel, to line: inout InkLine, isWhole: Bool
    ) {
        switch model.nodes[node].status {
        case .starting:
            line.add("○ ", .faint)
            line.add("\(number)  ", .faint)
            if isWhole { line.add("starting", .faint) }
        case .killed:
            line.add("✕ ", .bad)
            line.add("\(number)  killed", .bad)
        case .fallen:
            line.add("✕ ", .bad)
            line.add("\(number)  ended by itself", .bad)
        case .serving:
            line.add("● ", model.users(on: node).isEmpty ? .ring : .node)
            line.add("\(number)  ", .plain)
            for (place, user) in model.users(on: node).enumerated() {
                if place > 0 { line.add(" ") }
                let user = model.users[user]
                line.add(user.name, user.presence == .online ? .strong : .faint)
                if user.presence == .resting, isWhole { line.add(" (away)", .faint) }
            }
        }
    }

    // MARK: In words

    private static func way(_ model: DemoModel) -> InkLine {
        var line = InkLine(" ")
        guard let trace = model.trace else { return line }
        line.add("━━ ", .way)
        line.add("\(model.users[trace.sender].name) → \(model.users[trace.receiver].name)", .way)
        let nodes = trace.path.map { String(model.nodes[$0].number) }
        line.add("  node " + nodes.joined(separator: " → "), .plain)
        line.add("  " + Words.count(trace.path.count - 1, "hop"), .faint)
        return line
    }

    private static func events(_ model: DemoModel, _ count: Int) -> [InkLine] {
        model.events.suffix(count).map { event in
            var line = InkLine(" ")
            line.add(
                Words.padded(Words.decimal(event.at.inSeconds, digits: 1), to: 6, right: true),
                .faint)
            line.add("  ")
            switch event.kind {
            case .usual: line.add(event.text)
            case .good: line.add(event.text, .good)
            case .bad: line.add(event.text, .bad)
            }
            return line
        }
    }

    /// The port of a node that is never killed.
    static func joinLine(_ model: DemoModel) -> InkLine {
        var line = InkLine(" ")
        guard let port = model.nodes.first?.redisPort, port != 0 else { return line }
        line.add("join: ", .faint)
        line.add("redis-cli -p \(port)", .strong)
        line.add("  then  ", .faint)
        line.add("SUBSCRIBE \(DemoModel.channel)", .strong)
        line.add("  or  ", .faint)
        line.add("MESH.SEND \(model.users[0].name) hello", .strong)
        return line
    }
}

/// One line a second, for logs and pipes.
enum PlainView {
    /// - Parameter events: what has happened since the last line.
    static func line(_ model: DemoModel, events: [DemoModel.Event]) -> String {
        let rates = model.rates
        var parts = [
            Words.padded(Words.clock(model.talkTime), to: 5, right: true),
            Words.count(model.servingNodes.count, "node"),
            "sent \(Words.count(rates.sent))/s",
            "delivered \(Words.count(rates.delivered))/s",
            "lost \(Words.count(model.losses.unexplained))",
        ]
        if let hops = rates.meanHops { parts.append("hops " + Words.decimal(hops, digits: 2)) }
        if let median = rates.median, let slowest = rates.slowest {
            parts.append(
                "latency \(Words.milliseconds(median)), 99 % \(Words.milliseconds(slowest))")
        }
        let news = events.map(\.text).joined(separator: "; ")
        return parts.joined(separator: "  ") + (news.isEmpty ? "" : "  | " + news)
    }
}
