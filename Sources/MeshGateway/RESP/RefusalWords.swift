import MeshWire

// Refusals in RESP. No other file spells one: clients know them by these words, which are Redis's
// where Redis has them.

extension ClientRefusal {
    /// The line behind the `-` of an error: a word in capitals, by which programs tell refusals
    /// apart, and a sentence for people. Quoted bytes are as `appendError` takes them.
    var inRESP: String {
        switch self {
        case .syntax(let fault): fault.inRESP
        case .rights(let lack): lack.inRESP
        case .limit(let limit): limit.inRESP
        case .session(let fault): fault.inRESP
        case .state(let state): state.inRESP
        case .transaction(let fault): fault.inRESP
        case .redis(let fault): fault.inRESP
        case .script(let fault): fault.inRESP
        case .room(let fault): fault.inRESP
        case .request(let fault): fault.inRESP
        }
    }
}

extension ClientRefusal.Syntax {
    fileprivate var inRESP: String {
        switch self {
        case .unknownArgument: "ERR syntax error"
        case .argumentCount(let command): "ERR wrong number of arguments for '\(command)' command"
        case .notAnInteger: "ERR value is not an integer or out of range"
        case .name(.channel, let bytesMax): "ERR channel names have at most \(bytesMax) bytes"
        case .name(.pattern, let bytesMax): "ERR patterns have at most \(bytesMax) bytes"
        case .name(.room, let bytesMax): "ERR room names have 1 to \(bytesMax) bytes"
        case .user(let bytesMax): "ERR user names have 1 to \(bytesMax) bytes"
        case .neitherOnNorOff: "ERR syntax error: ON or OFF"
        case .unknownOption: "ERR syntax error: MESH.OPTION CONFIRM MESH|LOCAL"
        case .unknownPolicy:
            "ERR syntax error: MESH.POLICY "
                + SlowConsumerPolicy.allCases.map(\.name).joined(separator: "|")
        case .unknownTraceTarget: "ERR syntax error: MESH.TRACE USER|CHANNEL|ROOM name"
        case .unknownAttachment:
            "ERR syntax error: MESH.ATTACH user [META metadata] [SESSION [COUNTED] | "
                + "RESUME token [SEEN count]]"
        case .notAToken: "ERR this is no token: MESH.ATTACH user SESSION answers one"
        case .usage(let usage): "ERR syntax error: \(usage)"
        case .notAPlace: "ERR this is no place to go on from: MESH.WHO answers one"
        case .pageSize(let most): "ERR LIMIT is a number from 1 to \(most)"
        case .onceID(let most): "ERR an id to send again by has 1 to \(most) bytes"
        case .tooManyTargets(let most):
            "ERR not more than \(most) of one kind: say it several times for more"
        case .notASid: "ERR this is no sid: MESH.WHERE user SESSIONS tells them"
        case .reason(let bytesMax): "ERR a reason has at most \(bytesMax) bytes"
        case .metadata(let bytesMax): "ERR metadata has at most \(bytesMax) bytes"
        }
    }
}

extension ClientRefusal.Rights {
    fileprivate var inRESP: String {
        switch self {
        case .notAuthenticated: "NOAUTH Authentication required."
        case .wrongPassword: "WRONGPASS invalid username-password pair or user is disabled."
        case .passwordNotAsked:
            "ERR AUTH <password> called without any password configured for the default user. "
                + "Are you sure your configuration is correct?"
        case .notPermitted(let user, let command):
            "NOPERM User \(user) has no permissions to run the '\(command)' command"
        }
    }
}

extension ClientRefusal.Limit {
    fileprivate var inRESP: String {
        switch self {
        case .connections: "ERR max number of clients reached"
        case .patterns(let countMax): "ERR a node has at most \(countMax) patterns"
        case .patternBytes(let bytesMax):
            "ERR the patterns of a node have at most \(bytesMax) bytes"
        case .meshPatternBytes(let bytesMax):
            "ERR all patterns in the mesh have at most \(bytesMax) bytes"
        case .subscriptions: "ERR this node has all the subscriptions that it may have"
        case .sessions: "ERR this node has all the sessions that it may have"
        case .ofUser(let kind, let countMax):
            "LIMIT a user has at most \(countMax) \(kind.rawValue) at a node "
                + "(--user-limit '\(kind.rawValue) N')"
        case .unfinishedCommands(let bytesMax):
            "OOM the commands that clients have begun to send take more than \(bytesMax) bytes, and "
                + "this one is among the longest: send it again later"
        case .commandsAskedFor: "ERR too many commands in one question"
        case .channelsAskedFor: "ERR too many channels in one question"
        case .channelNames(let bytesMax):
            "ERR the names of these channels take more than \(bytesMax) bytes: "
                + "ask with a pattern that fewer match"
        case .roomNames(let bytesMax):
            "LIMIT the names of this user's rooms at a node take more than \(bytesMax) bytes"
        }
    }
}

extension ClientRefusal.Sessions {
    fileprivate var inRESP: String {
        switch self {
        case .unknownToken:
            "NOSESSION no session of this user has this token: it is wrong, a later one was used, "
                + "or its time is over"
        case .miscounted:
            "ERR a counted session is resumed with SEEN and the count of its messages that have "
                + "come, any other without"
        case .notCounted: "ERR this connection has no counted session of this user"
        case .seenTooMany(let sentCount): "ERR only \(sentCount) messages were sent"
        case .silentNode(let node):
            "TRYAGAIN the node of this session, \(node), does not answer: try again"
        }
    }
}

extension ClientRefusal.Rooms {
    fileprivate var inRESP: String {
        switch self {
        case .notAttached: "NOUSER this connection is not attached as that user"
        case .severalUsers: "AMBIGUOUS this connection is attached as several users: say AS user"
        }
    }
}

extension ClientRefusal.State {
    fileprivate var inRESP: String {
        switch self {
        case .joining: "LOADING Smallworld is joining the mesh"
        case .draining(let destination):
            "DRAINING this node is leaving: attach at "
                + (destination.isEmpty ? "another" : destination)
        case .silentNodes(let name, count: 1): "TRYAGAIN \(name) has not answered"
        case .silentNodes(let name, let count):
            "TRYAGAIN \(name) and \(count - 1) more have not answered"
        case .unheardOrder(let count, let name, let silentCount):
            "TIMEOUT \(count) sessions did it; \(name)"
                + (silentCount == 1 ? " has" : " and \(silentCount - 1) more have")
                + " not answered"
        case .earlierNode(let name, let count):
            "UNSUPPORTED \(name)"
                + (count == 1 ? " is" : " and \(count - 1) more are")
                + " of an earlier version, which knows nothing of this"
        }
    }
}

extension ClientRefusal.Transactions {
    fileprivate var inRESP: String {
        switch self {
        case .notInside: return "ERR Command not allowed inside a transaction"
        case .nested: return "ERR MULTI calls can not be nested"
        case .watchInside: return "ERR WATCH inside MULTI is not allowed"
        // Redis lets only SUBSCRIBE and PSUBSCRIBE be used in a transaction, and says it so.
        case .subscribingInside: return "ERR SSUBSCRIBE isn't allowed for a DENY BLOCKING client"
        case .executionOutside: return "ERR EXEC without MULTI"
        case .discardOutside: return "ERR DISCARD without MULTI"
        case .abortedBefore: return "EXECABORT Transaction discarded because of previous errors."
        case .aborted(let cause):
            let text = cause.inRESP
            let reason = text.hasPrefix("ERR ") ? text.dropFirst(4) : text[...]
            return "EXECABORT Transaction discarded because of: \(reason)"
        }
    }
}

extension ClientRefusal.Scripts {
    fileprivate var inRESP: String {
        switch self {
        case .unknown: "NOSCRIPT No matching script. Please use EVAL."
        case .wrong(let error):
            "ERR Scripts of this node do nothing but publish: \(error.words)"
        case .failed(let fault, let line, let name):
            "\(fault.words(line: line)) script: \(name), on @user_script:\(line)."
        case .caught(let fault): fault.words(line: 1)
        case .keyCountNegative: "ERR Number of keys can't be negative"
        case .keyCountTooLarge: "ERR Number of keys can't be greater than number of args"
        case .flushOption: "ERR SCRIPT FLUSH only support SYNC|ASYNC option"
        case .functionFlushOption: "ERR FUNCTION FLUSH only supports SYNC|ASYNC option"
        case .noFunctions: "ERR this server has no functions: scripts that publish go by EVAL"
        case .noLibrary: "ERR Library not found"
        case .notBusy: "NOTBUSY No scripts in execution right now."
        case .readOnly: "ERR Scripts of this node do nothing but publish: none is read-only"
        case .noFunction: "ERR Function not found"
        }
    }
}

extension ClientRefusal.Requests {
    fileprivate var inRESP: String {
        switch self {
        case .usage(let usage): "ERR syntax error: \(usage.rawValue)"
        case .targetName(let kind, let bytesMax):
            "ERR names of \(kind.word)s have 1 to \(bytesMax) bytes"
        case .key(let bytesMax): "ERR keys of requests have 1 to \(bytesMax) bytes"
        case .keyWithoutService: "ERR KEY chooses among the providers of a service alone"
        case .allAlone: "ERR ALL goes with TIMEOUT, WAIT and ASYNC alone"
        case .noParts: "ERR the asker of this request takes no parts (MESH.REQUEST ... STREAM)"
        case .tag(let bytesMax): "ERR tags have 1 to \(bytesMax) bytes"
        case .tagInUse: "ERR a request of this connection has this tag"
        case .timeout(let most): "ERR the time of a request is 1 to \(most) milliseconds"
        case .concurrency(let most): "ERR the concurrency of a provider is 1 to \(most)"
        case .tooMany(let countMax, .connection):
            "LIMIT a connection has at most \(countMax) open requests"
        case .tooMany(let countMax, .node): "LIMIT a node has at most \(countMax) open requests"
        case .tooManyBytes(let bytesMax):
            "LIMIT the open requests of a node have at most \(bytesMax) bytes (--memory)"
        case .tooManyServices(let countMax):
            "LIMIT a connection serves at most \(countMax) services"
        case .ended(.answered, _): "ERR"
        case .ended(.rejected(let reason), _):
            reason.isEmpty ? "REJECTED no provider has taken it" : "REJECTED \(excerpt(reason))"
        case .ended(.failed(let reason), _):
            reason.isEmpty ? "FAILED the provider has failed" : "FAILED \(excerpt(reason))"
        case .ended(.busy, let target):
            "BUSY too many requests wait for \(quoted(target.name))"
        case .ended(.noService, let target):
            switch target.kind {
            case .service: "NOSERVICE nobody serves \(quoted(target.name))"
            case .user: "NOSERVICE nobody is attached as \(quoted(target.name))"
            case .room: "NOSERVICE nobody else is in the room \(quoted(target.name))"
            }
        case .ended(.unsupported, let target):
            "UNSUPPORTED the nodes that have \(quoted(target.name)) are of an earlier version"
        case .ended(.slow, _): "SLOW the parts of the answer were not read"
        case .ended(.tooMuch, _): "LIMIT the answer is too large"
        case .ended(.died, _):
            "DIED the provider is gone; the request may have been carried out or not"
        case .ended(.timedOut, _): "TIMEOUT the time of the request is over"
        case .ended(.cancelled, _): "CANCELLED the request was given up"
        }
    }

    /// As much of a provider's words as an error line quotes.
    private func excerpt(_ bytes: [UInt8]) -> String { quoted(Array(bytes.prefix(512))) }
}

extension ScriptError {
    fileprivate var words: String {
        switch reason {
        case .tooLong: "this one has more than \(Script.textBytesMax) bytes"
        case .tooDeep: "line \(line) nests too much, or has too many names or values"
        case .unexpected(let met):
            "line \(line) has '\(quoted(met))', which is not understood there"
        case .endOfText: "line \(line) ends where more is expected"
        case .command(let name): "line \(line) calls '\(quoted(name))'"
        }
    }
}

extension ScriptFault {
    /// With the word before them by which programs tell faults apart.
    fileprivate func words(line: Int) -> String {
        switch self {
        case .argumentCount: "ERR Wrong number of args calling Redis command from script"
        case .argumentType: "ERR Lua redis lib command arguments must be strings or integers"
        case .joined(let kind): "ERR user_script:\(line): attempt to concatenate a \(kind) value"
        case .calculated(let kind):
            "ERR user_script:\(line): attempt to perform arithmetic on a \(kind) value"
        case .measured(let kind):
            "ERR user_script:\(line): attempt to get length of a \(kind) value"
        case .loop(let word): "ERR user_script:\(line): 'for' \(word) must be a number"
        case .number: "ERR user_script:\(line): numbers of scripts are less than 100000000000000"
        case .memory: "ERR user_script:\(line): not enough memory"
        case .steps(let countMax):
            "ERR user_script:\(line): more than the \(countMax) steps that it may have"
        case .channel(let bytesMax): ClientRefusal.Syntax.name(.channel, bytesMax: bytesMax).inRESP
        case .notPermitted(let user):
            ClientRefusal.Rights.notPermitted(user: user, command: "publish").inRESP
        case .joining: ClientRefusal.State.joining.inRESP
        }
    }
}

extension ClientRefusal.Redis {
    fileprivate var inRESP: String {
        switch self {
        case .unknownCommand(let name, let arguments):
            "ERR unknown command '\(quoted(name))', with args beginning with: "
                + arguments.map { "'\(quoted($0))' " }.joined()
        case .unknownSubcommand(let name, let parent):
            "ERR unknown subcommand '\(quoted(name))'. Try \(parent.uppercased()) HELP."
        case .wrongPubSub(let name):
            "ERR unknown subcommand or wrong number of arguments for '\(quoted(name))'. "
                + "Try PUBSUB HELP."
        case .whileSubscribed(let command, let subcommand):
            "ERR Can't execute '\(command)"
                + (subcommand.map { "|" + quoted($0).lowercased() } ?? "")
                + "': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in "
                + "this context"
        case .versionNotAnInteger: "ERR Protocol version is not an integer or out of range"
        case .unknownVersion: "NOPROTO unsupported protocol version"
        case .unknownGreeting(let option): "ERR Syntax error in HELLO option '\(quoted(option))'"
        case .greetingUnauthenticated:
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the "
                + "HELLO <proto> AUTH <user> <pass> option can be used to authenticate the "
                + "client and select the RESP protocol version at the same time"
        case .databaseIndex: "ERR DB index is out of range"
        case .characters(let text):
            "ERR \(text.inRESP) cannot contain spaces, newlines or special characters."
        case .clientName(let bytesMax): "ERR Client names have at most \(bytesMax) bytes."
        case .unknownClientText(let name): "ERR Unrecognized option '\(quoted(name))'"
        case .unknownClientType(let name): "ERR Unknown client type '\(quoted(name))'"
        case .clientIDListed: "ERR Invalid client ID"
        case .clientIDKilled: "ERR client-id should be greater than 0"
        case .unknownClient: "ERR No such client"
        case .unknownUser(let name): "ERR No such user '\(quoted(name))'"
        case .ageMax: "ERR maxage is not an integer or out of range"
        case .tracking: "ERR client tracking is not offered: there are no keys to track"
        case .unknownParameter(let name):
            "ERR Unknown option or number of arguments for CONFIG SET - '\(quoted(name))'"
        case .parameter(let name, let fault):
            "ERR CONFIG SET failed (possibly related to argument '\(name)') - \(fault.words)"
        case .waitTime(.value): "ERR timeout is not an integer or out of range"
        case .waitTime(.negative): "ERR timeout is negative"
        case .pauseMode: "ERR CLIENT PAUSE mode must be WRITE or ALL"
        case .unblockReason: "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"
        case .noKeys(isKnown: true): "ERR The command has no key arguments"
        case .noKeys(isKnown: false): "ERR Invalid command specified"
        case .unknownCategory(let name): "ERR Unknown category '\(quoted(name))'"
        case .dryRunUser(let name): "ERR User '\(quoted(name))' not found"
        case .dryRunCommand(let name): "ERR Command '\(quoted(name))' not found"
        case .logCount: "ERR value is out of range, must be positive"
        case .noConfigurationFile: "ERR The server is running without a config file"
        case .fixedUsers: "ERR the users of this server, default and operator, are fixed"
        case .noCluster: "ERR This instance has cluster support disabled"
        }
    }
}

extension ClientRefusal.ClientText {
    fileprivate var inRESP: String {
        switch self {
        case .name: "Client names"
        case .libraryName: "lib-name"
        case .libraryVersion: "lib-ver"
        }
    }
}

extension ParameterFault {
    fileprivate var words: String {
        switch self {
        case .notAnInteger: "argument couldn't be parsed into an integer"
        case .range(let least, let most):
            "argument must be between \(least) and \(most) inclusive"
        case .choice(let names):
            "argument(s) must be one of the following: \(names.joined(separator: ", "))"
        case .outputLimits(let fault): fault.words
        case .fixed: "can't set immutable config: nothing here depends on it"
        case .duplicate: "duplicate parameter"
        case .noKeys: "there are no keys here whose changes could be told"
        }
    }
}

extension OutputLimitFault {
    /// The fault in Redis's words, for command lines too.
    public var words: String {
        switch self {
        case .wordCount: "Wrong number of arguments in buffer limit configuration."
        case .value:
            "Error in hard, soft or soft_seconds setting in buffer limit configuration: "
                + "hard and soft are 0 to 1gb, soft_seconds 0 to 2147483648."
        case .unknownClass: "Invalid client class specified in buffer limit configuration."
        }
    }
}

extension UserLimits.Fault {
    /// The fault in words, for command lines.
    public var words: String {
        switch self {
        case .wordCount: "words go in pairs, as in 'sessions 64 patterns 100'"
        case .unknownKind:
            "there are \(UserLimits.Kind.allCases.map(\.rawValue).joined(separator: ", "))"
        case .value:
            "a limit is a number from \(UserLimits.range.lowerBound) to "
                + "\(UserLimits.range.upperBound)"
        }
    }
}

extension RESPError {
    /// The line behind the `-` of the error that ends the connection.
    var inRESP: String { "ERR Protocol error: \(text)" }

    /// The fault, in Redis's words.
    var text: String {
        switch self {
        case .multibulkLength: "invalid multibulk length"
        case .bulkLength: "invalid bulk length"
        case .messageTooLong(let count, let bytesMax):
            "invalid bulk length: \(count) bytes are more than the \(bytesMax) of --message-max, or "
                + "of an eighth of --memory"
        case .expectedDollar(let byte): "expected '$', got '\(RESPError.printable(byte))'"
        case .bulkEnd: "expected CRLF after a bulk string"
        case .tooBig: "too big request"
        case .tooBigLine: "too big inline request"
        case .unbalancedQuotes: "unbalanced quotes in request"
        case .unauthenticatedMultibulk: "unauthenticated multibulk length"
        case .unauthenticatedBulk: "unauthenticated bulk length"
        }
    }

    /// Redis writes the byte as it is, but for line ends, which would end the error.
    private static func printable(_ byte: UInt8) -> Character {
        byte >= 0x20 && byte < 0x7F ? Character(Unicode.Scalar(byte)) : " "
    }
}

/// Bytes as an error quotes them. If they are no UTF-8, each from 0x80 on is carried by a scalar
/// that nobody uses, which `appendLine` turns back into the byte.
private func quoted(_ bytes: [UInt8]) -> String {
    if let text = String(validating: bytes, as: UTF8.self) { return text }
    var scalars = String.UnicodeScalarView()
    for byte in bytes {
        scalars.append(
            byte < 0x80
                ? Unicode.Scalar(byte)
                : Unicode.Scalar(ByteQueue.carriedBytes + UInt32(byte)) ?? " ")
    }
    return String(scalars)
}
