import MeshGateway

/// The operations that each principal is refused, whatever protocol it speaks. Passwords are checked
/// elsewhere.
public struct Rights: Sendable {
    /// One bit for each operation that is refused, by principal.
    private var refusedToStrangers: UInt16 = 0
    private var refusedToStandard: UInt16 = 0
    private var refusedToAdministrators: UInt16 = 0

    /// Everybody may do what is not the operator's, and the operator everything.
    public init() {
        for operation in Operation.allCases where operation.isReserved {
            refuse(operation, .stranger)
            refuse(operation, .standard)
        }
    }

    @inline(__always)
    public func allow(_ operation: Operation, _ principal: Principal) -> Bool {
        let refused =
            switch principal {
            case .stranger: refusedToStrangers
            case .standard: refusedToStandard
            case .administrator: refusedToAdministrators
            }
        return refused & Self.bit(operation) == 0
    }

    public mutating func refuse(_ operation: Operation, _ principal: Principal) {
        switch principal {
        case .stranger: refusedToStrangers |= Self.bit(operation)
        case .standard: refusedToStandard |= Self.bit(operation)
        case .administrator: refusedToAdministrators |= Self.bit(operation)
        }
    }

    @inline(__always)
    private static func bit(_ operation: Operation) -> UInt16 {
        1 &<< UInt16(operation.rawValue)
    }
}
