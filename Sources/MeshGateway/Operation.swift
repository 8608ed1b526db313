/// The kinds of things that commands do, in words of no protocol. Rights are given for these.
public enum Operation: UInt8, CaseIterable, Sendable {
    /// A message to a channel, a shard channel or a user.
    case publish
    /// Listening to channels, shard channels and patterns.
    case subscribe
    /// Receiving what is sent to a user.
    case attach
    /// Orders to the connections of a user, wherever they are.
    case order
    /// Asking providers of services.
    case request
    /// Being one.
    case serve
    /// Being told when users come and go.
    case watch
    /// Questions about others' subscriptions and users, which the mesh answers.
    case locate
    /// Questions about the node and about the client itself.
    case inspect
    /// Questions about the mesh's nodes and links, and the ways that messages take: the operator's.
    case survey
    /// Changes to the node, and what is done to others' connections: the operator's.
    case administer
    /// Commands about the client's own connection alone, and those that are there for Redis's sake and
    /// do nothing.
    case connect

    /// The operator alone may do this.
    public var isReserved: Bool { self == .survey || self == .administer }
}

/// The client as its node knows it.
public enum Principal: UInt8, CaseIterable, Sendable {
    /// It has not given the password that it must give.
    case stranger
    /// Redis's user `default`: it has, or need not.
    case standard
    /// The one that runs the node (`Credentials`).
    case administrator
}
