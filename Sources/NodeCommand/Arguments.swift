/// One `--name` of a subcommand.
struct Flag {
    var name: String
    /// What follows the name in the help; nil: nothing does, the flag is a switch.
    var argument: String?
    var isRepeatable = false
    var help: String
}

/// Arguments that make no sense; the process ends with 64 (EX_USAGE of sysexits.h).
struct UsageError: Error, CustomStringConvertible {
    var description: String
    init(_ description: String) { self.description = description }
}

/// What stands on the command line after the subcommand.
struct Arguments: Equatable {
    /// Values by flag name; a switch that is there has "true".
    var flags: [String: [String]] = [:]
    var words: [String] = []

    subscript(name: String) -> String? { flags[name]?.last }

    /// Takes `--name value`, `--name=value` and plain words; `--` ends the flags.
    static func parse(_ arguments: [String], _ known: [Flag]) throws(UsageError) -> Arguments {
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
                throw UsageError("unknown flag \(parts[0])" + suggestion(name, known))
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
        guard let near, distance(name, near) <= 2 else { return "" }
        return "; did you mean --\(near)?"
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
