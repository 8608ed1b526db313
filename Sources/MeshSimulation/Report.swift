import JSON5
import MeshCore

/// A run's metrics for programs. The keys are stable; new ones may be added.
extension Metrics {
    /// One JSON object.
    ///
    /// - Parameter isWhole: with what only the page and later comparisons need: samples, recoveries.
    public func json(isWhole: Bool = false) -> String {
        var object = JSONObject()
        object["scenario"] = quoted(scenario)
        object["seed"] = String(seed)
        object["runHash"] = quoted(hexadecimal(runHash))
        object["nodes"] = String(nodes)
        object["events"] = String(events)
        object["virtualSeconds"] = decimal(virtualSeconds)
        object["seconds"] = decimal(seconds)
        object["eventsPerSecond"] = decimal(eventsPerSecond, places: 0)
        object["speed"] = decimal(speed)
        object["calmSpeed"] = decimal(calmSpeed)
        object["startSeconds"] = startSeconds.map { decimal($0) } ?? "null"
        object["sent"] = String(sent)
        object["delivered"] = String(delivered)
        object["lost"] = String(lost)
        object["lostInCalm"] = String(lostInCalm)
        object["undelivered"] = String(undelivered)
        object["retransmitted"] = String(retransmitted)
        object["duplicated"] = String(duplicated)
        object["reordered"] = String(reordered)
        object["unknown"] = String(unknown)
        object["hops"] = hops.json
        object["latencyMilliseconds"] = latency.json
        object["detection"] = detection.json
        object["convergence"] = convergence.json
        object["bytes"] = String(bytes)
        object["bytesPerNodeSecond"] = bytesPerNodeSecond.json
        object["load"] = load.json
        object["linksPerNode"] = decimal(linksPerNode)
        object["inFlightMax"] = String(inFlightMax)
        object["deaths"] = String(deaths)
        object["suspicions"] = String(suspicions)
        object["figures"] = figures.json
        object["stuck"] = String(isStuck)
        object["scenarioError"] = scenarioError.map { quoted($0) } ?? "null"
        object["expectations"] = list(
            expectations.map { outcome in
                var object = JSONObject()
                object["metric"] = quoted(outcome.metric)
                object["least"] = outcome.least.map { decimal($0, places: 6) } ?? "null"
                object["most"] = outcome.most.map { decimal($0, places: 6) } ?? "null"
                object["actual"] =
                    outcome.actual.isFinite ? decimal(outcome.actual, places: 6) : "null"
                object["met"] = String(outcome.isMet)
                return object.text
            })
        object["violations"] = list(violations.map(json))
        object["violationCount"] = String(violationCount)
        object["tolerated"] = list(tolerated.map(json))
        if isWhole {
            object["hopCounts"] = list(hopCounts.map(String.init))
            object["recoveries"] = list(
                recoveries.map {
                    "{\"kind\": \(quoted($0.kind)), \"at\": \(decimal($0.at)), "
                        + "\"seconds\": \($0.seconds.map { decimal($0) } ?? "null")}"
                })
            object["samples"] = list(
                samples.map {
                    "[\(decimal($0.time)), \(decimal($0.share, places: 4)), \($0.live), "
                        + "\(decimal($0.megabits))]"
                })
        }
        return object.text
    }

    private func json(_ violation: Violation) -> String {
        "{\"checker\": \(quoted(violation.checker.rawValue)), "
            + "\"seconds\": \(decimal(Double(violation.time.nanoseconds) / 1e9, places: 9)), "
            + "\"host\": \(violation.host.map { String($0) } ?? "null"), \"text\": \(quoted(violation.text))}"
    }

    /// The same for people: a table and what went wrong.
    public var table: String {
        func row(_ name: String, _ value: String) -> String {
            "  " + name + String(repeating: " ", count: max(1, 14 - name.count)) + value
        }
        func four(_ distribution: Distribution, _ unit: String) -> String {
            guard distribution.count > 0 else { return "none" }
            return "mean \(decimal(distribution.mean, places: 2))\(unit), "
                + "p50 \(decimal(distribution.p50, places: 2))\(unit), "
                + "p99 \(decimal(distribution.p99, places: 2))\(unit), "
                + "max \(decimal(distribution.max, places: 2))\(unit)"
        }
        var lines = ["\(scenario), seed \(seed), run hash \(hexadecimal(runHash))"]
        lines.append(
            row(
                "nodes",
                "\(nodes) at the end, \(decimal(linksPerNode, places: 1)) links each"))
        lines.append(
            row("time", "\(decimal(virtualSeconds, places: 1)) s virtual, \(events) events"))
        if seconds > 0 {
            lines.append(
                row(
                    "speed",
                    "\(decimal(seconds, places: 1)) s, "
                        + "\(decimal(eventsPerSecond / 1e6, places: 2)) M events/s, "
                        + "\(decimal(speed, places: 1)) × real time, "
                        + "\(decimal(calmSpeed, places: 1)) × after the start"))
        }
        lines.append(
            row(
                "start",
                startSeconds.map { "all ready and agreed after \(decimal($0, places: 2)) s" }
                    ?? "never agreed"))
        lines.append(
            row(
                "messages",
                "\(sent) sent, \(delivered) copies delivered, \(lost) lost, "
                    + "\(duplicated) doubled, \(reordered) out of order, \(unknown) to nobody"))
        if roomMessages + rosterPushes > 0 {
            lines.append(
                row(
                    "in rooms",
                    "\(roomMessages) words said, \(roomCopies) copies heard, \(rosterPushes) pushes "
                        + "to watchers, \(rostersChecked) rosters compared at the end"
                ))
        }
        if sessionMessages > 0 {
            lines.append(
                row(
                    "sessions",
                    "\(sessionMessages) messages sent, \(sessionDelivered) came, "
                        + "\(sessionMissing) missing beside notices of unknown size, "
                        + "\(sessionNotices) notices"))
        }
        lines.append(row("hops", four(hops, "")))
        lines.append(row("latency", four(latency, " ms")))
        lines.append(row("detection", four(detection, " s")))
        lines.append(row("convergence", four(convergence, " s")))
        lines.append(row("load", four(load, "") + " messages passed on by a node"))
        lines.append(row("sent", four(bytesPerNodeSecond, "") + " bytes/s by a node"))
        for outcome in expectations {
            let bounds =
                outcome.least == nil
                ? "at most \(decimal(outcome.most ?? .infinity))"
                : "\(decimal(outcome.least!)) … "
                    + (outcome.most.map { decimal($0) } ?? "")
            lines.append(
                "  \(outcome.isMet ? "met   " : "MISSED")  \(outcome.metric) "
                    + "\(decimal(outcome.actual)), expected \(bounds)")
        }
        for violation in violations.prefix(10) {
            lines.append("  VIOLATION  \(violation.description)")
        }
        if violationCount > 10 { lines.append("  … and \(violationCount - 10) more") }
        if !tolerated.isEmpty {
            lines.append("  tolerated  \(tolerated[0].description)")
        }
        if let scenarioError {
            lines.append("  WRONG SCENARIO: \(scenarioError)")
        } else if isStuck {
            lines.append("  STUCK: no progress")
        }
        return lines.joined(separator: "\n")
    }
}

/// Keys and values in the order in which they are set.
struct JSONObject {
    private var fields: [String] = []

    subscript(key: String) -> String {
        get { "" }
        set { fields.append("\(quoted(key)): \(newValue)") }
    }

    var text: String { "{" + fields.joined(separator: ", ") + "}" }
}

func list(_ values: [String]) -> String { "[" + values.joined(separator: ", ") + "]" }

func quoted(_ text: String) -> String {
    var result = "\""
    for scalar in text.unicodeScalars {
        switch scalar {
        case "\"": result += "\\\""
        case "\\": result += "\\\\"
        case "\n": result += "\\n"
        case "\t": result += "\\t"
        case "\u{0}"..."\u{1F}":
            let digits = String(scalar.value, radix: 16)
            result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
        default: result.unicodeScalars.append(scalar)
        }
    }
    return result + "\""
}

func hexadecimal(_ value: UInt64) -> String {
    let digits = String(value, radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits
}
