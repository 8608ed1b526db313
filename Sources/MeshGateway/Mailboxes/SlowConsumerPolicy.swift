/// The fate of a client that does not read as fast as messages come for it (`MESH.POLICY`).
public enum SlowConsumerPolicy: UInt8, CaseIterable, Sendable {
    /// It is ended at Redis's limits (`client-output-buffer-limit pubsub`); until then nothing is
    /// lost.
    case disconnect = 0
    /// A bounded queue; the message that has waited longest makes room for the new one.
    case dropOldest
    /// A bounded queue; what does not fit is not taken.
    case dropNewest
    /// Of each channel or user only the newest message waits.
    case latest

    /// The word in MESH.POLICY, in `--slow-consumer` and in the label of /metrics.
    public var name: String {
        switch self {
        case .disconnect: "disconnect"
        case .dropOldest: "drop-oldest"
        case .dropNewest: "drop-newest"
        case .latest: "latest"
        }
    }

    /// Nil for a word that names none; upper and lower case are the same.
    public init?(name: String) {
        let wanted = name.lowercased()
        guard let policy = Self.allCases.first(where: { $0.name == wanted }) else { return nil }
        self = policy
    }
}
