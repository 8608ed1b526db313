import MeshWire

/// The reason why the gateway does not do what a client wants, in words of no protocol. Each codec
/// says it to its clients in one table: RESP's is `ClientRefusal.inRESP`.
///
/// It is one word in size, so that results which are mostly no refusal stay small: the rest lies in
/// a box that is made when something is refused.
///
/// Bytes that a client sent are kept as they came, as many as a refusal quotes.
indirect enum ClientRefusal: Equatable, Sendable {
    case syntax(Syntax)
    case rights(Rights)
    case limit(Limit)
    case session(Sessions)
    case state(State)
    case transaction(Transactions)
    case redis(Redis)
    case script(Scripts)
    case room(Rooms)
    case request(Requests)

    /// The command is not as it should be, whatever the state of node and client.
    enum Syntax: Equatable, Sendable {
        /// An argument that the command does not know, or not there.
        case unknownArgument
        case argumentCount(command: String)
        case notAnInteger
        case name(TooLong, bytesMax: Int)
        case user(bytesMax: Int)
        case neitherOnNorOff
        case unknownOption
        case unknownPolicy
        case unknownTraceTarget
        case unknownAttachment
        /// The bytes cannot be a session's token.
        case notAToken
        /// The usage of a MESH command whose arguments are not as it says.
        case usage(String)
        case metadata(bytesMax: Int)
        /// The bytes cannot be a place in a room's list of members.
        case notAPlace
        case pageSize(max: Int)
        /// The bytes cannot be a sid.
        case notASid
        /// The id of ONCE is empty, or longer than that.
        case onceID(bytesMax: Int)
        /// One message is for, or not for, more than so many.
        case tooManyTargets(max: Int)
        case reason(bytesMax: Int)
    }

    /// A name that is too long.
    enum TooLong: CaseIterable, Sendable {
        case channel, pattern, room
    }

    /// The client may not do this.
    enum Rights: Equatable, Sendable {
        case notAuthenticated
        case wrongPassword
        /// A password alone was given, and there is none to be given.
        case passwordNotAsked
        case notPermitted(user: String, command: String)
    }

    /// The node has, or would do, too much.
    enum Limit: Equatable, Sendable {
        case connections
        case patterns(countMax: Int)
        /// Of the node, and of the mesh.
        case patternBytes(max: Int)
        case meshPatternBytes(max: Int)
        case subscriptions
        case sessions
        /// Of one user.
        case ofUser(UserLimits.Kind, countMax: Int)
        /// Of all clients together.
        case unfinishedCommands(bytesMax: Int)
        /// Questions whose answers would be too long.
        case commandsAskedFor
        case channelsAskedFor
        /// The names of the channels that match, all together.
        case channelNames(bytesMax: Int)
        /// The names of the rooms that a user is in.
        case roomNames(bytesMax: Int)
    }

    /// A client wants a session that it cannot have, or says of one what cannot be.
    enum Sessions: Equatable, Sendable {
        /// No session of the user has the token that was shown.
        case unknownToken
        /// The session is counted, and the client has not said how many messages it has seen, or
        /// more than were sent. Or it has said so, and the session is not counted.
        case miscounted
        case notCounted
        case seenTooMany(sentCount: UInt64)
        /// The node that has the session does not answer.
        case silentNode(NodeID)
    }

    /// A client wants something of a room, or of a user that it is attached as, and is not attached so.
    enum Rooms: CaseIterable, Sendable {
        case notAttached
        /// It is attached as several users, and has not said as which.
        case severalUsers
    }

    /// The node does this at other times.
    enum State: Equatable, Sendable {
        case joining
        /// The node is leaving: the client should connect to this address.
        case draining(destination: String)
        /// So many nodes have not answered a question; the name of one of them.
        case silentNodes(String, count: Int)
        /// So many attachments have done what was ordered, and nodes have not answered.
        case unheardOrder(count: Int, String, silentCount: Int)
        /// So many nodes, and the name of one, are of an earlier version and do not know of this.
        case earlierNode(String, count: Int)
    }

    /// A transaction is not as it should be, or cannot have this in it.
    enum Transactions: Equatable, Sendable {
        case notInside
        case nested
        case watchInside
        case subscribingInside
        case executionOutside
        case discardOutside
        case abortedBefore
        case aborted(because: ClientRefusal)
    }

    /// A script is not known, is none that this node runs, or came to a fault.
    enum Scripts: Equatable, Sendable {
        case unknown
        case wrong(ScriptError)
        /// The script's name in 40 digits.
        case failed(ScriptFault, line: Int, name: String)
        /// The script has caught this and answers it.
        case caught(ScriptFault)
        case keyCountNegative
        case keyCountTooLarge
        case flushOption
        case functionFlushOption
        case noFunctions
        case noLibrary
        case notBusy
        case readOnly
        case noFunction
    }

    /// Refusals of requests, and of what providers do.
    enum Requests: Equatable, Sendable {
        case usage(Usage)
        case targetName(RequestTarget.Kind, bytesMax: Int)
        case tag(bytesMax: Int)
        /// Another open request of the connection has the same tag.
        case tagInUse
        case timeout(millisecondsMax: Int)
        case concurrency(max: Int)
        case tooMany(Int, Holder)
        case tooManyBytes(max: Int)
        case tooManyServices(Int)
        /// The end of a request without an answer.
        case ended(RequestOutcome, RequestTarget)
        case key(bytesMax: Int)
        /// A key chooses among the providers of a service.
        case keyWithoutService
        /// All are asked, once: no key chooses, nothing is asked again, and no answer comes in parts.
        case allAlone
        /// The asker takes no parts.
        case noParts
    }

    /// Refusals of commands that are there for Redis's sake, which no other protocol has.
    enum Redis: Equatable, Sendable {
        case unknownCommand(name: [UInt8], arguments: [[UInt8]])
        case unknownSubcommand(name: [UInt8], parent: String)
        case wrongPubSub(name: [UInt8])
        /// A RESP2 client with subscriptions may run few commands.
        case whileSubscribed(command: String, subcommand: [UInt8]?)

        case versionNotAnInteger
        case unknownVersion
        case unknownGreeting(option: [UInt8])
        case greetingUnauthenticated
        case databaseIndex

        case characters(ClientText)
        case clientName(bytesMax: Int)
        case unknownClientText(name: [UInt8])
        case unknownClientType(name: [UInt8])
        case clientIDListed
        case clientIDKilled
        case unknownClient
        case unknownUser(name: [UInt8])
        case ageMax
        case tracking

        case unknownParameter(name: [UInt8])
        case parameter(name: String, ParameterFault)
        case waitTime(WaitTimeFault)
        case unblockReason
        case pauseMode
        case noKeys(isKnown: Bool)
        case unknownCategory(name: [UInt8])
        case dryRunUser(name: [UInt8])
        case dryRunCommand(name: [UInt8])
        case logCount
        case noConfigurationFile
        case fixedUsers
        case noCluster
    }

    /// A fault of the time that WAIT or CLIENT PAUSE is given.
    enum WaitTimeFault: CaseIterable, Sendable {
        case value, negative
    }

    /// Texts that a client gives itself.
    enum ClientText: CaseIterable, Sendable {
        case name, libraryName, libraryVersion
    }
}

/// The reason why bounds of output cannot be set.
public enum OutputLimitFault: CaseIterable, Sendable {
    /// Not four words each.
    case wordCount
    /// A bound or a time that is no number or too large.
    case value
    case unknownClass
}
