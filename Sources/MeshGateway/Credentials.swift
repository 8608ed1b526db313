/// The passwords of a node's two users, and who a client is by what it has shown.
///
///     passwords          a client of this machine   any other    after AUTH
///     none               operator                   default      as before
///     default's          nobody yet                 nobody yet   default
///     operator's         default                    default      the user that it names
///     both               nobody yet                 nobody yet   the user that it names
public struct Credentials: Sendable {
    /// The password that AUTH must be given for the user `default`; nil: nothing is asked.
    public var password: String?
    /// The same for the user `operator`; nil: there is no such user.
    public var operatorPassword: String?

    /// No passwords: who connects from this machine is the operator.
    public init() {}

    /// The user that a name in AUTH or HELLO means.
    enum User: String, CaseIterable {
        case standard = "default"
        case administrator = "operator"
    }

    /// A client that has shown nothing yet.
    ///
    /// - Parameter isLocal: it connects from this machine.
    func principal(isLocal: Bool) -> Principal {
        if password != nil { return .stranger }
        return isLocal && operatorPassword == nil ? .administrator : .standard
    }

    /// A client that has shown this; nil: it is wrong. Where `default` needs no password, anything will
    /// do for it, as in Redis.
    func principal(user: [UInt8], password given: [UInt8], isLocal: Bool) -> Principal? {
        switch User(rawValue: String(decoding: user, as: UTF8.self)) {
        case .standard:
            guard let password else { return principal(isLocal: isLocal) }
            return Self.isEqual(password, given) ? .standard : nil
        case .administrator:
            guard let operatorPassword else { return nil }
            return Self.isEqual(operatorPassword, given) ? .administrator : nil
        case nil: return nil
        }
    }

    /// Compares in a time that does not tell how much was right.
    private static func isEqual(_ password: String, _ given: [UInt8]) -> Bool {
        let expected = Array(password.utf8)
        var difference = UInt64(expected.count ^ given.count)
        for index in given.indices {
            let byte = expected.isEmpty ? 0 : expected[index % expected.count]
            difference |= UInt64(byte ^ given[index])
        }
        return difference == 0
    }

    /// Some clients may do less than others.
    var distinguishes: Bool { password != nil || operatorPassword != nil }
}
