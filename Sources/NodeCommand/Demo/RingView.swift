import Glibc

/// Where on the circle each node is drawn: evenly spread in the order of the ring. Changes are slow,
/// so that an eye can follow the gap closing.
struct RingLayout {
    /// Radians clockwise from the top, by node.
    private(set) var angles: [Int: Double] = [:]

    /// Moves each node a step towards its place; true when one has moved visibly.
    @discardableResult
    mutating func approach(_ ring: [Int]) -> Bool {
        var next: [Int: Double] = [:]
        var hasMoved = ring.count != angles.count
        for (rank, node) in ring.enumerated() {
            let target = 2 * Double.pi * Double(rank) / Double(ring.count)
            guard let angle = angles[node] else {
                next[node] = target
                hasMoved = true
                continue
            }
            let way = remainder(target - angle, 2 * Double.pi)
            if abs(way) < 0.01 {
                next[node] = target
            } else {
                next[node] = angle + way * 0.25
                hasMoved = true
            }
        }
        angles = next
        return hasMoved
    }
}

/// The ring with its nodes, their links and the way of one message.
enum RingView {
    /// Up to here all links are drawn; above, those of one node after the other.
    private static let allLinksMax = 12
    /// Up to here each node has its number beside it.
    private static let numbersMax = 20

    static func lines(_ model: DemoModel, _ layout: RingLayout, width: Int, height: Int)
        -> [InkLine]
    {
        var canvas = BrailleCanvas(width: width, height: height)
        let centre = (x: Double(width), y: Double(height * 4) / 2)
        // A row above and below and some columns beside the circle are for the numbers.
        let radius = max(4, min(Double(width - 8), Double(height * 4 - 12) / 2))
        func point(_ angle: Double, _ radius: Double) -> (x: Double, y: Double) {
            (centre.x + radius * sin(angle), centre.y - radius * cos(angle))
        }
        let angles = layout.angles
        drawCircle(&canvas, radius) { point($0, radius) }
        let places = angles.mapValues { point($0, radius) }
        for (from, to) in links(model) {
            guard let start = places[from], let end = places[to] else { continue }
            let isDying = model.nodes[from].status.isGone || model.nodes[to].status.isGone
            canvas.line(start, end, isDying ? .dying : .link, gap: isDying ? 3 : 2)
        }
        if let trace = model.trace {
            for (from, to) in zip(trace.path, trace.path.dropFirst()) {
                guard let start = places[from], let end = places[to] else { continue }
                canvas.line(start, end, .way)
            }
        }
        // In the ring's order, not the dictionary's: where two share a cell, always the same wins.
        for node in angles.keys.sorted() {
            guard let place = places[node], let angle = angles[node] else { continue }
            let (mark, ink) = mark(node, model)
            canvas.write(
                mark, column: Int(place.x.rounded(.down)) / 2, row: Int(place.y.rounded(.down)) / 4,
                ink)
            guard angles.count <= numbersMax || isOnWay(node, model) || ink == .bad else {
                continue
            }
            let number = String(model.nodes[node].number)
            let label = point(angle, radius + 5.5)
            let side = sin(angle)
            let column = Int((label.x / 2).rounded(.down))
            canvas.write(
                number,
                column: side > 0.3
                    ? column : side < -0.3 ? column - number.count + 1 : column - number.count / 2,
                row: Int((label.y / 4).rounded(.down)), ink == .node || ink == .ring ? .plain : ink)
        }
        return canvas.lines
    }

    private static func drawCircle(
        _ canvas: inout BrailleCanvas, _ radius: Double, _ point: (Double) -> (x: Double, y: Double)
    ) {
        let count = Int(2 * Double.pi * radius / 3)
        for step in 0..<count {
            let (x, y) = point(2 * Double.pi * Double(step) / Double(count))
            canvas.dot(x, y, .ring)
        }
    }

    /// Each once.
    private static func links(_ model: DemoModel) -> [(Int, Int)] {
        let shown = model.nodes.indices.filter { model.isShown($0) }
        if shown.count <= allLinksMax {
            return shown.flatMap { node in
                model.nodes[node].links.filter { peer in
                    node < peer || !model.nodes[peer].links.contains(node)
                }.map { (node, $0) }
            }
        }
        guard let focus = focus(model) else { return [] }
        return model.nodes[focus].links.map { (focus, $0) }
    }

    /// The node whose links are shown when there are too many to show all.
    private static func focus(_ model: DemoModel) -> Int? {
        if let kill = model.kills.last, model.isShown(kill.node) { return kill.node }
        if let way = model.trace?.path.first { return way }
        return model.servingNodes.first
    }

    private static func isOnWay(_ node: Int, _ model: DemoModel) -> Bool {
        model.trace?.path.contains(node) ?? false
    }

    private static func mark(_ node: Int, _ model: DemoModel) -> (String, Ink) {
        switch model.nodes[node].status {
        case .starting: ("○", .faint)
        case .killed, .fallen: ("✕", .bad)
        case .serving:
            if isOnWay(node, model) {
                ("●", .way)
            } else {
                ("●", model.users(on: node).isEmpty ? .ring : .node)
            }
        }
    }
}
