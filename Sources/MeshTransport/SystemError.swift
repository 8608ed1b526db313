import Glibc

/// A system call that failed for a reason of the environment: no such address, no permission, no
/// descriptors left.
public struct SystemError: Error, Equatable, Sendable, CustomStringConvertible {
    /// The action that failed, for people: `listen on 127.0.0.1:7400`.
    public var action: String
    /// An errno value, positive.
    public var code: Int32
    /// The remedy, where it does not follow from `code`; may be empty.
    public var advice: String

    public init(_ action: String, code: Int32, advice: String = "") {
        self.action = action
        self.code = code
        self.advice = advice
    }

    /// Passes a result on, or throws what it means when it is a negated errno value.
    static func check(_ result: Int32, _ action: @autoclosure () -> String) throws(SystemError)
        -> Int32
    {
        if result < 0 { throw SystemError(action(), code: -result) }
        return result
    }

    /// The kernel's words for `code`.
    public var reason: String { unsafe String(cString: strerror(code)) }

    public var isAddressInUse: Bool { code == EADDRINUSE }

    /// No network interface of this machine has the address.
    public var isNotOurAddress: Bool { code == EADDRNOTAVAIL }

    public var description: String {
        "cannot \(action): \(reason)" + (advice.isEmpty ? "" : "; \(advice)")
    }
}
