/// The words on the command line after the subcommand.
public struct Arguments: Equatable, Sendable {
    /// Values by flag name; a switch that is there has "true".
    public private(set) var flags: [String: [String]] = [:]
    public private(set) var words: [String] = []

    public subscript(name: String) -> String? { flags[name]?.last }
    public func has(_ name: String) -> Bool { flags[name] != nil }

    public func integer(_ name: String, _ range: ClosedRange<Int>) throws(UsageError) -> Int? {
        guard let text = self[name] else { return nil }
        guard let value = Int(text), range.contains(value) else {
            throw UsageError(
                "--\(name) is a whole number from \(range.lowerBound) to \(range.upperBound), "
                    + "not '\(text)'")
        }
        return value
    }

    /// - Parameter range: 10^15 is beyond anything that is counted here, and its products with
    ///   units of time or size stay finite.
    public func number(
        _ name: String, _ range: ClosedRange<Double> = 0...1e15
    ) throws(UsageError) -> Double? {
        guard let text = self[name] else { return nil }
        // A comparison with "nan" is false.
        guard let value = Double(text), range.contains(value) else {
            throw UsageError(
                "--\(name) is a number from \(range.lowerBound) to \(range.upperBound), "
                    + "not '\(text)'")
        }
        return value
    }

    public func seed(_ name: String = "seed") throws(UsageError) -> UInt64? {
        guard let text = self[name] else { return nil }
        guard let value = UInt64(text) else {
            throw UsageError("--\(name) is a whole number from 0, not '\(text)'")
        }
        return value
    }

    /// For a subcommand that takes flags alone.
    public func refuseWords() throws(UsageError) {
        if let word = words.first { throw UsageError("there is nothing to do with '\(word)'") }
    }

    /// Takes `--name value`, `--name=value` and plain words; `--` ends the flags.
    public static func parse(
        _ arguments: [String], _ known: [Flag]
    ) throws(UsageError) -> Arguments {
        var result = Arguments()
        var rest = arguments[...]
        while let word = rest.popFirst() {
            if word == "--" {
                result.words += rest
                break
            }
            guard word.hasPrefix("-"), word != "-" else {
                result.words.append(word)
                continue
            }
            let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            let name = String(parts[0].drop { $0 == "-" })
            guard word.hasPrefix("--"), let flag = known.first(where: { $0.name == name }) else {
                throw UsageError("unknown flag \(parts[0]); " + suggestion(name, known))
            }
            var value: String
            if flag.argument == nil {
                guard parts.count == 1 else { throw UsageError("--\(name) takes no value") }
                value = "true"
            } else if parts.count == 2 {
                value = String(parts[1])
            } else {
                guard let next = rest.popFirst(), !next.hasPrefix("--") else {
                    throw UsageError("--\(name) needs a value: --\(name) \(flag.argument ?? "")")
                }
                value = next
            }
            if result.flags[name] != nil, !flag.isRepeatable {
                throw UsageError("--\(name) is there twice")
            }
            result.flags[name, default: []].append(value)
        }
        return result
    }

    private static func suggestion(_ name: String, _ known: [Flag]) -> String {
        let near = known.map(\.name).min { distance(name, $0) < distance(name, $1) }
        if let near, distance(name, near) <= 2 { return "did you mean --\(near)?" }
        return "there are " + known.map { "--" + $0.name }.joined(separator: ", ")
    }

    /// Levenshtein's distance.
    static func distance(_ left: String, _ right: String) -> Int {
        let right = Array(right)
        var row = Array(0...right.count)
        for (line, character) in left.enumerated() {
            var diagonal = row[0]
            row[0] = line + 1
            for column in 0..<right.count {
                let replaced = diagonal + (right[column] == character ? 0 : 1)
                diagonal = row[column + 1]
                row[column + 1] = min(replaced, diagonal + 1, row[column] + 1)
            }
        }
        return row[right.count]
    }
}
