/// The kinds of things that commands do, in words of no protocol. Rights are given for these.
public enum Operation: UInt8, CaseIterable, Sendable {
    /// A message to a channel, a shard channel or a user.
    case publish
    /// Listening to channels, shard channels and patterns.
    case subscribe
    /// Receiving what is sent to a user.
    case attach
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

extension Command {
    /// The operation that the command is.
    var operation: Operation {
        switch self {
        case .publish, .spublish, .meshPublish, .meshSend, .eval, .evalSHA: .publish
        case .subscribe, .psubscribe, .ssubscribe: .subscribe
        case .meshAttach: .attach
        case .meshWatch: .watch
        case .pubsubChannels, .pubsubShardChannels, .pubsubNumSub, .pubsubShardNumSub,
            .pubsubNumPat, .meshOnline, .meshWhere:
            .locate
        case .info, .clientList, .memoryStatistics, .time, .configGet, .meshStatus: .inspect
        case .meshMembers, .meshLinks, .meshTrace: .survey
        case .configSet, .configResetStatistics, .configRewrite, .clientKill, .aclSetUser,
            .scriptFlush, .monitor, .clientPause, .clientUnpause, .aclDeleteUser, .functionLoad,
            .functionDelete, .functionFlush,
            .memoryPurge:
            .administer
        case .unsubscribe, .punsubscribe, .sunsubscribe, .ping, .echo, .hello, .auth, .select,
            .quit, .reset, .cluster, .multi, .exec, .discard, .unwatch, .role, .readonly,
            .readwrite, .asking, .dbsize, .flushall, .flushdb, .meshDetach, .meshAck,
            .meshUnwatch, .meshPolicy, .meshGaps, .meshReports, .meshMoves, .meshOption,
            .clientID,
            .clientGetName, .clientSetName, .clientSetInfo, .clientInfo, .clientReply,
            .clientNoEvict, .clientNoTouch, .clientTracking, .clientGetRedirection, .command,
            .commandCount, .commandDocs, .commandInfo, .commandList, .aclWhoAmI, .aclList,
            .aclUsers, .moduleList, .pubsubHelp, .clientHelp, .configHelp, .commandHelp,
            .aclHelp, .meshHelp, .watch, .pubsub, .client, .config, .acl, .module, .evalReadOnly,
            .evalSHAReadOnly, .script, .call, .callReadOnly, .scriptLoad, .scriptExists,
            .scriptKill, .scriptHelp, .wait, .slowLog, .latency, .memory, .function,
            .clientTrackingInfo, .clientUnblock, .commandGetKeys, .aclCategories, .aclGetUser,
            .aclLog, .aclDryRun, .slowLogGet, .slowLogLength, .slowLogReset, .slowLogHelp,
            .latencyLatest, .latencyHistory, .latencyReset, .latencyDoctor, .latencyHistogram,
            .latencyHelp, .memoryUsage, .memoryDoctor, .memoryAllocator, .memoryHelp,
            .functionList, .functionStatistics, .functionKill, .functionHelp:
            .connect
        }
    }
}
