/// The most that one user may have at a node, over all connections that are attached as it: one that takes
/// all that it gets leaves the others theirs.
public struct UserLimits: Equatable, Sendable {
    /// The things that a user has a number of.
    public enum Kind: String, CaseIterable, Sendable {
        /// Connections that are attached as the user, and sessions of its that wait for one.
        case connections
        /// Sessions, with and without a connection.
        case sessions
        /// Channels, shard channels and watches of its connections, each as often as it stands there.
        case subscriptions
        /// The same of patterns.
        case patterns
    }

    /// The reason why a text sets no limit.
    public enum Fault: CaseIterable, Sendable {
        /// Not two words each.
        case wordCount
        case unknownKind
        /// A number that is none, or out of `UserLimits.range`.
        case value
    }

    /// A fleet of workers with one name fits, and a user's devices by far. A guess.
    private var connections = 1_000
    /// A browser has one for each tab.
    private var sessions = 64
    /// Some 110 bytes each: 11 MB. A guess.
    private var subscriptions = 100_000
    /// A sixteenth of a node's (`GatewayConfiguration.patternCountMax`).
    private var patterns = 1_024

    /// The numbers that a limit can be.
    public static let range = 1...10_000_000

    public init() {}

    /// A number in `range`.
    public subscript(kind: Kind) -> Int {
        get {
            switch kind {
            case .connections: connections
            case .sessions: sessions
            case .subscriptions: subscriptions
            case .patterns: patterns
            }
        }
        set {
            let count = min(max(newValue, Self.range.lowerBound), Self.range.upperBound)
            switch kind {
            case .connections: connections = count
            case .sessions: sessions = count
            case .subscriptions: subscriptions = count
            case .patterns: patterns = count
            }
        }
    }

    /// Reads `kind count`, several times: `sessions 8 patterns 100`. What is not named stays.
    ///
    /// - Returns: nil when all is well; else the reason, and some may be set.
    public mutating func set(_ text: String) -> Fault? {
        let words = text.split(separator: " ")
        guard !words.isEmpty, words.count % 2 == 0 else { return .wordCount }
        for start in stride(from: 0, to: words.count, by: 2) {
            guard let kind = Kind(rawValue: String(words[start])) else { return .unknownKind }
            guard let count = Int(words[start + 1]), Self.range.contains(count) else {
                return .value
            }
            self[kind] = count
        }
        return nil
    }
}
