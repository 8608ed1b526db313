import Testing

@testable import NodeCommand

struct LiveViewTests {
    /// Users have begun to talk ten seconds ago; each node has a link to each other.
    private func model(nodes count: Int) -> DemoModel {
        var model = DemoModel(nodeCount: count)
        for node in 0..<count {
            _ = model.addNode()
            model.nodes[node].status = .serving
            model.nodes[node].position = UInt64(node) << 56
            model.nodes[node].redisPort = 40_000 + UInt16(node)
            model.nodes[node].links = (0..<count).filter { $0 != node }
        }
        for user in model.users.indices {
            model.users[user].node = model.firstNode(of: user)
            model.users[user].presence = .online
        }
        model.phase = .talking
        model.talkBegan = .zero
        model.talkEnds = .seconds(20)
        model.now = .seconds(10)
        return model
    }

    private func picture(_ model: DemoModel, _ columns: Int = 80, _ rows: Int = 24) -> [InkLine] {
        var layout = RingLayout()
        layout.approach(model.ring.filter { model.isShown($0) })
        return LiveView.lines(model, layout, columns: columns, rows: rows)
    }

    @Test(
        arguments: [2, 3, 5, 17, 18, 60], [(80, 24), (100, 30), (200, 60), (80, 25), (40, 12)])
    func `the picture fits the terminal`(_ nodes: Int, _ size: (columns: Int, rows: Int)) {
        var model = model(nodes: nodes)
        for _ in 0..<20 { model.note(String(repeating: "event ", count: 40)) }
        model.trace = DemoModel.Trace(sender: 0, receiver: 1, path: [0, 1])
        let lines = picture(model, size.columns, size.rows)
        #expect(lines.count == size.rows)
        #expect(lines.allSatisfy { $0.width <= size.columns })
        #expect(lines.allSatisfy { $0.width == $0.text.count })
    }

    @Test func `the picture says who is where and how to join`() {
        let text = picture(model(nodes: 5)).map(\.text)
        #expect(text.contains { $0.contains("●  3  cem hugo") })
        #expect(
            text.last == " join: redis-cli -p 40000  then  SUBSCRIBE lobby  or  MESH.SEND ann hello"
        )
        #expect(text[0].hasPrefix(" Smallworld  5 nodes, 10 users  ·  every message is checked"))
        #expect(text[0].hasSuffix("0:10 / 0:20 "))
    }

    @Test func `with many nodes those with users are shown, and the dead first`() {
        var model = model(nodes: 60)
        model.nodes[50].status = .killed(at: .seconds(9))
        let text = picture(model).map(\.text).joined(separator: "\n")
        #expect(text.contains("✕ 51  killed"))
        #expect(text.contains("●  1  ann"))
        #expect(text.contains("more"))
    }

    @Test func `a killed node is marked, and forgotten after a while`() {
        var model = model(nodes: 5)
        model.nodes[3].status = .killed(at: .seconds(9))
        model.kills = [DemoKill(node: 3, killedAt: .seconds(9), users: [3, 8])]
        let text = picture(model).map(\.text)
        #expect(text[0].contains("4 nodes"))
        #expect(text[0].contains("node 4 is dead, the mesh closes the gap"))
        #expect(text.contains { $0.contains("✕  4  killed") })
        model.now = .seconds(15)
        #expect(!picture(model).contains { $0.text.contains("✕") })
    }

    @Test func `the way of a message is drawn over the links`() {
        var model = model(nodes: 60)
        model.trace = DemoModel.Trace(sender: 0, receiver: 1, path: [0, 40, 2])
        let lines = picture(model)
        #expect(lines.contains { $0.text.contains("ann → bob  node 1 → 41 → 3  2 hops") })
        let dots = lines.flatMap(\.pieces).filter { $0.ink == .way }.map(\.text).joined()
        #expect(dots.unicodeScalars.contains { (0x2801...0x28FF).contains($0.value) })
    }

    @Test func `colours are left out when nobody wants them, weight is not`() {
        var line = InkLine("lost", .bad)
        line.add(" 0", .good)
        #expect(line.escaped(hasColours: true) == "\u{1B}[1;31mlost\u{1B}[m\u{1B}[32m 0\u{1B}[m")
        #expect(line.escaped(hasColours: false) == "\u{1B}[1mlost\u{1B}[m 0")
    }

    @Test func `a plain line has the figures and the news`() {
        var model = model(nodes: 5)
        model.note("node 4 killed")
        let line = PlainView.line(model, events: model.events)
        #expect(line == " 0:10  5 nodes  sent 0/s  delivered 0/s  lost 0  | node 4 killed")
    }
}

struct RingLayoutTests {
    @Test func `nodes are spread evenly, in the order of the ring`() {
        var layout = RingLayout()
        layout.approach([7, 3, 9, 1])
        #expect(layout.angles[7] == 0)
        #expect(layout.angles[3] == .pi / 2)
        #expect(layout.angles[9] == .pi)
    }

    @Test func `a gap closes step by step, and then nothing moves`() {
        var layout = RingLayout()
        layout.approach([0, 1, 2, 3])
        layout.approach([0, 1, 3])
        let first = layout.angles[3]!
        #expect(first < 1.5 * .pi && first > 4 * .pi / 3)
        var steps = 0
        while layout.approach([0, 1, 3]) { steps += 1 }
        #expect(steps < 40)
        #expect(abs(layout.angles[3]! - 4 * .pi / 3) < 1e-9)
    }
}

struct BrailleCanvasTests {
    @Test func `dots fill their cells from the upper left to the lower right`() {
        var canvas = BrailleCanvas(width: 2, height: 1)
        canvas.dot(0, 0, .link)
        canvas.dot(3, 3, .way)
        #expect(canvas.lines[0].text == "\u{2801}\u{2880}")
        #expect(canvas.lines[0].pieces.map(\.ink) == [.link, .way])
    }

    @Test func `a line has both of its ends, and what is outside is left out`() {
        var canvas = BrailleCanvas(width: 2, height: 1)
        canvas.line((0, 0), (3, 0), .link)
        canvas.line((-50, -50), (-1, 0), .way)
        canvas.write("abc", column: 1, row: 0, .node)
        #expect(canvas.lines[0].text == "\u{2809}a")
    }

    @Test(arguments: [false, true])
    func `a cell shows only its highest-ranking dot`(_ isFirst: Bool) {
        var canvas = BrailleCanvas(width: 1, height: 1)
        for ink in isFirst ? [Ink.way, .link] : [.link, .way] {
            canvas.dot(ink == .way ? 0 : 1, 0, ink)
        }
        #expect(canvas.lines[0].pieces.map(\.ink) == [.way])
        #expect(canvas.lines[0].text == "\u{2801}")
    }
}

struct WordsTests {
    @Test func `numbers are as people write them`() {
        #expect(
            [0, 999, 1_000, 1_234_567, -1_000].map { Words.count($0) } == [
                "0", "999", "1,000", "1,234,567", "-1,000",
            ])
        #expect(Words.decimal(1.005, digits: 1) == "1.0")
        #expect(Words.decimal(0.06, digits: 2) == "0.06")
        #expect(Words.decimal(1.999, digits: 2) == "2.00")
        #expect(Words.milliseconds(.microseconds(310)) == "0.31 ms")
        #expect(Words.milliseconds(.milliseconds(163)) == "163 ms")
        #expect(Words.clock(.seconds(67)) == "1:07")
        #expect(Words.count(1, "node") == "1 node")
        #expect(Words.list([]) == "nobody")
        #expect(Words.list(["ann", "bob", "cem"]) == "ann, bob and cem")
    }

    @Test func `a stranger's words cannot move the cursor`() {
        #expect(Words.harmless("a\u{1B}[2J\nb\u{202E}é") == "a?[2J?b?é")
        #expect(Words.harmless(String(repeating: "x", count: 100), length: 5) == "xxxxx…")
    }
}
