extension Command {
    /// The operation that the command is.
    var operation: Operation {
        switch self {
        case .publish, .spublish, .meshPublish, .meshSend, .meshSay, .eval, .evalSHA: .publish
        case .subscribe, .psubscribe, .ssubscribe, .meshJoin: .subscribe
        case .meshAttach: .attach
        case .meshOrder, .meshKick: .order
        case .meshWatch, .meshWatchRoom: .watch
        case .meshRequest: .request
        case .meshServe: .serve
        case .pubsubChannels, .pubsubShardChannels, .pubsubNumSub, .pubsubShardNumSub,
            .pubsubNumPat, .meshOnline, .meshWhere, .meshWho, .meshCount, .meshRooms,
            .meshRoomsOf, .meshServices:
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
            .meshUnwatch, .meshUnwatchRoom, .meshMeta, .meshLeave, .meshUnserve, .meshCancel,
            .meshReply, .meshReject,
            .meshFail, .meshPolicy, .meshGaps, .meshReports, .meshMoves, .meshOption,
            .meshDetails,
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
