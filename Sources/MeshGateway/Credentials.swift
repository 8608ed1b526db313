/// Where a client connects from, as far as its rights depend on that.
public enum ClientOrigin: Sendable {
    /// Another machine.
    case elsewhere
    /// This machine, over the network.
    case machine
    /// A Unix socket. The mode of its file has let the client in.
    case unixSocket
}

/// The passwords of a node's two users, and who a client is by what it has shown.
///
///     passwords     over a Unix socket   of this machine   any other    after AUTH
///     none          operator             operator          default      as before
///     default's     operator             nobody yet        nobody yet   default; as before over a
///                                                                       Unix socket
///     operator's    default              default           default      the user that it names
///     both          nobody yet           nobody yet        nobody yet   the user that it names
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
    func principal(from origin: ClientOrigin) -> Principal {
        switch (password, operatorPassword) {
        case (nil, nil): origin == .elsewhere ? .standard : .administrator
        case (_, nil): origin == .unixSocket ? .administrator : .stranger
        case (nil, _): .standard
        case (_, _): .stranger
        }
    }

    /// A client that has shown this; nil: it is wrong. Where `default` needs no password, anything will
    /// do for it, as in Redis.
    func principal(
        user: [UInt8], password given: [UInt8], from origin: ClientOrigin
    ) -> Principal? {
        switch User(rawValue: String(decoding: user, as: UTF8.self)) {
        case .standard:
            let first = principal(from: origin)
            guard let password else { return first }
            guard Self.isEqual(password, given) else { return nil }
            return first == .administrator ? first : .standard
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
