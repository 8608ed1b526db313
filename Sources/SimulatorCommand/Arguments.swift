/// One `--name` of a subcommand.
struct Flag {
    var name: String
    /// What follows the name in the help; nil: nothing does, the flag is a switch.
    var argument: String?
    var help: String
}

/// Arguments that make no sense; the process ends with 64 (EX_USAGE of sysexits.h).
struct UsageError: Error, CustomStringConvertible {
    var description: String
    init(_ description: String) { self.description = description }
}

/// What stands on the command line after the subcommand.
struct Arguments {
    private var flags: [String: String] = [:]
    private(set) var words: [String] = []

    subscript(name: String) -> String? { flags[name] }
    func has(_ name: String) -> Bool { flags[name] != nil }

    func integer(_ name: String, _ range: ClosedRange<Int>) throws(UsageError) -> Int? {
        guard let text = flags[name] else { return nil }
        guard let value = Int(text), range.contains(value) else {
            throw UsageError(
                "--\(name) is a whole number from \(range.lowerBound) to \(range.upperBound), "
                    + "not '\(text)'")
        }
        return value
    }

    func number(_ name: String) throws(UsageError) -> Double? {
        guard let text = flags[name] else { return nil }
        guard let value = Double(text), value >= 0 else {
            throw UsageError("--\(name) is a number, not '\(text)'")
        }
        return value
    }

    func seed(_ name: String = "seed") throws(UsageError) -> UInt64? {
        guard let text = flags[name] else { return nil }
        guard let value = UInt64(text) else {
            throw UsageError("--\(name) is a whole number from 0, not '\(text)'")
        }
        return value
    }

    /// Takes `--name value`, `--name=value` and plain words.
    static func parse(_ arguments: [String], _ known: [Flag]) throws(UsageError) -> Arguments {
        var result = Arguments()
        var rest = arguments[...]
        while let word = rest.popFirst() {
            guard word.hasPrefix("-"), word != "-" else {
                result.words.append(word)
                continue
            }
            let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            let name = String(parts[0].drop { $0 == "-" })
            guard word.hasPrefix("--"), let flag = known.first(where: { $0.name == name }) else {
                let names = known.map { "--" + $0.name }.joined(separator: ", ")
                throw UsageError("unknown flag \(parts[0]); there are \(names)")
            }
            guard result.flags[name] == nil else { throw UsageError("--\(name) is there twice") }
            if flag.argument == nil {
                guard parts.count == 1 else { throw UsageError("--\(name) takes no value") }
                result.flags[name] = "true"
            } else if parts.count == 2 {
                result.flags[name] = String(parts[1])
            } else {
                guard let next = rest.popFirst(), !next.hasPrefix("--") else {
                    throw UsageError("--\(name) needs a value: --\(name) \(flag.argument ?? "")")
                }
                result.flags[name] = next
            }
        }
        return result
    }
}
