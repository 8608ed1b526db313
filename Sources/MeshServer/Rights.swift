import MeshGateway

/// The operations that each principal may not cause, whatever protocol it speaks. The password is asked
/// for elsewhere.
public struct Rights: Sendable {
    /// One bit for each operation that is refused, by principal.
    private var refusedToStrangers: UInt8 = 0
    private var refusedToStandard: UInt8 = 0

    /// Everybody may do everything.
    public init() {}

    @inline(__always)
    public func allow(_ operation: Operation, _ principal: Principal) -> Bool {
        let refused = principal == .standard ? refusedToStandard : refusedToStrangers
        return refused & Self.bit(operation) == 0
    }

    public mutating func refuse(_ operation: Operation, _ principal: Principal) {
        switch principal {
        case .stranger: refusedToStrangers |= Self.bit(operation)
        case .standard: refusedToStandard |= Self.bit(operation)
        }
    }

    @inline(__always)
    private static func bit(_ operation: Operation) -> UInt8 { 1 &<< operation.rawValue }
}
