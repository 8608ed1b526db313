/// A table for people: name, figure, allocations.
func table(_ rows: [Bench.Row]) -> String {
    let width = max(24, rows.map(\.name.count).max() ?? 0)
    var lines = [
        "benchmark".padded(to: width) + "          figure".padded(to: 24) + "  allocations"
    ]
    for row in rows {
        let figure = decimal(row.value) + " " + (row.unit == "ns" ? "ns/op  " : "bytes/key")
        let allocations =
            switch row.allocations {
            case nil: row.unit == "ns" ? "not counted" : ""
            case 0?: "0"
            case let count?:
                "\(count) in \(row.operations)" + (row.isHotPath ? "  ← hot path" : "")
            }
        lines.append(
            row.name.padded(to: width) + "  "
                + String(repeating: " ", count: max(0, 22 - figure.count)) + figure + "  "
                + allocations)
    }
    return lines.joined(separator: "\n")
}

/// The same for programs: an array of objects.
func json(_ rows: [Bench.Row]) -> String {
    let objects = rows.map { row in
        var fields = [
            "\"name\": \"\(row.name)\"", "\"value\": \(decimal(row.value))",
            "\"unit\": \"\(row.unit)\"",
        ]
        if row.unit == "ns" {
            fields.append("\"operations\": \(row.operations)")
            fields.append("\"allocations\": \(row.allocations.map(String.init) ?? "null")")
            fields.append("\"hotPath\": \(row.isHotPath)")
        }
        return "  {" + fields.joined(separator: ", ") + "}"
    }
    return "[\n" + objects.joined(separator: ",\n") + "\n]"
}

/// Two digits after the point; no Foundation for this alone.
private func decimal(_ value: Double) -> String {
    let hundredths = Int((value * 100).rounded())
    let fraction = hundredths % 100
    return "\(hundredths / 100)." + (fraction < 10 ? "0" : "") + "\(fraction)"
}

extension String {
    fileprivate func padded(to width: Int) -> String {
        self + String(repeating: " ", count: max(0, width - count))
    }
}
