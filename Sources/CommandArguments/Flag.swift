/// One `--name` of a subcommand.
public struct Flag: Sendable {
    public var name: String
    /// The word that follows the name in the help; nil: none does, the flag is a switch.
    public var argument: String?
    public var isRepeatable: Bool
    /// May have several lines.
    public var help: String

    public init(
        name: String, argument: String? = nil, isRepeatable: Bool = false, help: String
    ) {
        self.name = name
        self.argument = argument
        self.isRepeatable = isRepeatable
        self.help = help
    }

    /// The flags with their helps beside them, a line or more each.
    public static func list(_ flags: [Flag]) -> String {
        let titles = flags.map { "  --\($0.name)" + ($0.argument.map { " \($0)" } ?? "") }
        let width = (titles.map(\.count).max() ?? 0) + 2
        var text = ""
        for (title, flag) in zip(titles, flags) {
            let lines = flag.help.split(separator: "\n", omittingEmptySubsequences: false)
            text += title + String(repeating: " ", count: width - title.count) + lines[0] + "\n"
            for line in lines.dropFirst() {
                text += String(repeating: " ", count: width) + line + "\n"
            }
        }
        return text
    }
}

/// Arguments that make no sense; the process ends with 64 (EX_USAGE of sysexits.h).
public struct UsageError: Error, CustomStringConvertible {
    public var description: String
    public init(_ description: String) { self.description = description }
}
