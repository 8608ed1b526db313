import JSON5

/// A run as one page: HTML with SVG and nothing from outside, good on a screen and on paper.
extension Metrics {
    public var page: String {
        let facts: [(String, String)] = [
            ("nodes", "\(nodes)"), ("seed", "\(seed)"), ("run hash", hexadecimal(runHash)),
            ("virtual time", "\(decimal(virtualSeconds, places: 1)) s"),
            ("events", "\(events)"), ("sent", "\(sent)"), ("delivered", "\(delivered)"),
            ("lost", "\(lost)"), ("given up", "\(undelivered)"), ("doubled", "\(duplicated)"),
            ("out of order", "\(reordered)"),
            ("mean hops", decimal(hops.mean, places: 2)),
            ("latency, mean and p99", "\(decimal(latency.mean)) and \(decimal(latency.p99)) ms"),
            ("detection, last", "\(decimal(detection.max, places: 2)) s"),
            ("convergence, longest", "\(decimal(convergence.max, places: 2)) s"),
        ]
        var body = "<h1>\(escaped(scenario))</h1><p>\(escaped(about))</p><dl>"
        for (name, value) in facts { body += "<div><dt>\(name)</dt><dd>\(value)</dd></div>" }
        body += "</dl>"
        body += outcomes
        body += figure("The ring and its links", ringDrawing)
        body += figure("Hops", bars(hopCounts.map(Double.init), unit: "hops"))
        body += figure(
            "Nodes whose member list is right, and faults on the time line",
            curve(samples.map { ($0.time, $0.share * 100) }, unit: "%", marks: true))
        body += figure(
            "Nodes that are up", curve(samples.map { ($0.time, Double($0.live)) }, unit: ""))
        body += figure(
            "Bandwidth of all nodes", curve(samples.map { ($0.time, $0.megabits) }, unit: "Mbit/s"))
        body += figure("Messages passed on, node by node in order", loadDrawing)
        body += figure("Time to recover from each fault", recoveryDrawing)
        return """
            <!DOCTYPE html><html lang="en"><meta charset="utf-8">\
            <meta name="viewport" content="width=device-width">\
            <title>\(escaped(scenario))</title><style>\
            body{font:15px/1.4 system-ui,sans-serif;max-width:760px;margin:2em auto;padding:0 1em;\
            color:#1b2733;background:#fff}h1{font-size:1.5em}figure{margin:2em 0;\
            break-inside:avoid}figcaption{font-weight:600;margin-bottom:.4em}\
            dl{display:grid;grid-template-columns:repeat(auto-fill,minmax(150px,1fr));gap:.6em}\
            dt{color:#5d6b78;font-size:.85em}dd{margin:0;overflow-wrap:anywhere}\
            table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.2em .6em .2em 0;\
            border-bottom:1px solid #dde3e8}.bad{color:#b3261e;font-weight:600}\
            svg{width:100%;height:auto}svg text{font:11px system-ui,sans-serif;fill:#5d6b78}\
            </style>\(body)</html>

            """
    }

    private func escaped(_ text: String) -> String {
        var result = ""
        for character in text {
            switch character {
            case "<": result += "&lt;"
            case ">": result += "&gt;"
            case "&": result += "&amp;"
            default: result.append(character)
            }
        }
        return result
    }

    private func figure(_ caption: String, _ drawing: String) -> String {
        drawing.isEmpty
            ? "" : "<figure><figcaption>\(caption)</figcaption>\(drawing)</figure>"
    }

    private var outcomes: String {
        var rows = ""
        for outcome in expectations {
            let mark = outcome.isMet ? "met" : "<span class=bad>missed</span>"
            rows +=
                "<tr><td>\(outcome.metric)<td>\(decimal(outcome.actual))"
                + "<td>\(outcome.least.map { decimal($0) } ?? "") … "
                + "\(outcome.most.map { decimal($0) } ?? "")<td>\(mark)"
        }
        for violation in violations {
            rows +=
                "<tr><td class=bad>\(violation.checker.rawValue)"
                + "<td colspan=3>\(escaped(violation.description))"
        }
        guard !rows.isEmpty else { return "" }
        return "<table><tr><th>metric<th>measured<th>expected<th>\(rows)</table>"
    }

    private func point(_ x: Double, _ y: Double) -> String {
        "\(decimal(x, places: 1)),\(decimal(y, places: 1))"
    }

    // MARK: The ring

    private var ringDrawing: String {
        guard !ring.isEmpty else { return "" }
        // More lines than this are a disc; every k-th is drawn then.
        let stride = max(1, ring.count / 3_000)
        var short = ""
        var long = ""
        for (index, link) in ring.enumerated() where index % stride == 0 {
            let line = "M\(place(link.from))L\(place(link.to))"
            if link.isLong { long += line } else { short += line }
        }
        return "<svg viewBox=\"0 0 420 420\" style=\"max-width:520px\">"
            + "<circle cx=\"210\" cy=\"210\" r=\"200\" fill=\"none\" stroke=\"#dde3e8\"/>"
            + "<path d=\"\(long)\" stroke=\"#3a7ca5\" stroke-opacity=\".25\" fill=\"none\"/>"
            + "<path d=\"\(short)\" stroke=\"#d1495b\" stroke-width=\"1.5\" fill=\"none\"/></svg>"
    }

    /// A position in [0, 1) on the circle, by the sine and cosine of its angle.
    private func place(_ position: Double) -> String {
        let (sine, cosine) = sineAndCosine(ofTurn: position)
        return point(210 + 200 * sine, 210 - 200 * cosine)
    }

    // MARK: Curves and bars

    private static var width: Double { 720 }
    private static var height: Double { 180 }

    private func frame(_ content: String, top: String, from: String, to: String) -> String {
        "<svg viewBox=\"0 0 760 230\"><path d=\"M40,10V190H760\" stroke=\"#9aa7b2\" "
            + "fill=\"none\"/>\(content)<text x=\"44\" y=\"20\">\(top)</text>"
            + "<text x=\"40\" y=\"206\">\(from)</text>"
            + "<text x=\"758\" y=\"206\" text-anchor=\"end\">\(to)</text></svg>"
    }

    private func bars(_ values: [Double], unit: String) -> String {
        guard let last = values.lastIndex(where: { $0 > 0 }) else { return "" }
        let most = values.max() ?? 1
        let step = Self.width / Double(last + 1)
        var content = ""
        for (index, value) in values[...last].enumerated() {
            let height = value / most * (Self.height - 10)
            content +=
                "<rect x=\"\(decimal(40 + Double(index) * step + 1, places: 1))\" "
                + "y=\"\(decimal(190 - height, places: 1))\" "
                + "width=\"\(decimal(max(1, step - 2), places: 1))\" "
                + "height=\"\(decimal(height, places: 1))\" fill=\"#3a7ca5\"/>"
            if last < 40 {
                content +=
                    "<text x=\"\(decimal(40 + (Double(index) + 0.5) * step, places: 1))\" "
                    + "y=\"222\" text-anchor=\"middle\">\(index)</text>"
            }
        }
        return frame(content, top: decimal(most), from: "0", to: "\(last) \(unit)")
    }

    private func curve(
        _ points: [(Double, Double)], unit: String, marks: Bool = false
    ) -> String {
        guard let end = points.last?.0, end > 0 else { return "" }
        let most = max(points.map(\.1).max() ?? 1, 1e-9)
        // A line of a thousand corners is as fine as a page can show.
        let stride = max(1, points.count / 1_000)
        var path = ""
        var index = 0
        while index < points.count {
            let chunk = points[index..<min(index + stride, points.count)]
            let low = chunk.min { $0.1 < $1.1 }!
            path +=
                (path.isEmpty ? "M" : "L")
                + point(
                    40 + low.0 / end * Self.width, 190 - low.1 / most * (Self.height - 10))
            index += stride
        }
        var content = "<path d=\"\(path)\" stroke=\"#3a7ca5\" stroke-width=\"1.5\" fill=\"none\"/>"
        if marks {
            for recovery in recoveries.prefix(400) {
                let x = decimal(40 + recovery.at / end * Self.width, places: 1)
                content +=
                    "<path d=\"M\(x),10V190\" stroke=\"#d1495b\" stroke-opacity=\".5\">"
                    + "<title>\(escaped(recovery.kind)) at \(decimal(recovery.at)) s</title></path>"
            }
        }
        return frame(
            content, top: "\(decimal(most)) \(unit)", from: "0 s",
            to: "\(decimal(end, places: 1)) s")
    }

    private var loadDrawing: String {
        guard loads.contains(where: { $0 > 0 }) else { return "" }
        let sorted = loads.sorted(by: >)
        let stride = max(1, sorted.count / 360)
        return bars(
            sorted.enumerated().filter { $0.offset % stride == 0 }.map(\.element), unit: "th node")
    }

    private var recoveryDrawing: String {
        let seconds = recoveries.prefix(200).map { $0.seconds ?? 0 }
        guard seconds.contains(where: { $0 > 0 }) else { return "" }
        return bars(Array(seconds), unit: "th fault")
    }
}

/// Sine and cosine of a part of a full turn, by Taylor's series around the nearest quarter.
func sineAndCosine(ofTurn turn: Double) -> (sine: Double, cosine: Double) {
    let quarters = (turn * 4).rounded()
    let angle = (turn * 4 - quarters) * 1.5707963267948966
    let square = angle * angle
    let sine =
        angle * (1 - square / 6 * (1 - square / 20 * (1 - square / 42 * (1 - square / 72))))
    let cosine = 1 - square / 2 * (1 - square / 12 * (1 - square / 30 * (1 - square / 56)))
    switch ((Int(quarters) % 4) + 4) % 4 {
    case 0: return (sine, cosine)
    case 1: return (cosine, -sine)
    case 2: return (-sine, -cosine)
    default: return (-cosine, sine)
    }
}
