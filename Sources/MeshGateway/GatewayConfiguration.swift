import MeshCore
import MeshWire

/// Bounds and identity of the client side, a property for each setting.
public struct GatewayConfiguration: Sendable {
    /// 1 … `clientCountBound`.
    public var clientCountMax = 10_000
    /// The most that CONFIG SET maxclients can ask for: the driver has room for so many.
    public var clientCountBound = 1_000_000
    /// Hosts that have any number of connections, because many clients are behind them.
    public var trustedProxies: [AddressRange] = []
    /// A client that listens to nothing and has said nothing for so many seconds is ended; 0: none is.
    public var idleSecondsMax = 0
    /// Silence in seconds after which the driver asks whether a client is still there; 0: never.
    public var keepAliveSeconds = 300
    /// The least important events that the driver writes down, in Redis's words.
    public var logLevel = RedisLogLevel.notice
    /// The memory that clients may take together.
    public var memory = MemoryShares()
    /// The largest message, unless `memory` has no room for it: 1 … `Frame.payloadMax` bytes.
    public var messageBytesMax = Frame.payloadMax
    /// The largest command: all its arguments together, unless `memory` has no room for it.
    public var requestBytesMax = 65 * 1024 * 1024
    /// Subscriptions, attachments and watches of all clients together; some 110 bytes each.
    public var subscriptionCountMax = 10_000_000
    /// Different patterns that clients of this node may subscribe to: every node of the mesh keeps
    /// all of them, and a publish may have to try those that begin and end with a wildcard. Not more
    /// than a node may tell the others.
    public var patternCountMax = Frame.patternCountMax
    /// The bytes of these patterns, and of all in the mesh, beyond which new ones are refused.
    public var patternBytesMax = Frame.patternBytesMax
    public var meshPatternBytesMax = Frame.meshPatternBytesMax
    /// Members of a room on this node beyond which others are told their number alone: 1 … `rosterBound`.
    public var rosterMax = 2_000
    /// The range of `rosterMax`.
    public static let rosterBound = 10_000
    /// The most that one user may have of connections, sessions and subscriptions.
    public var userLimits = UserLimits()
    /// The ids of messages that are remembered, each for two minutes (ONCE); some 50 bytes each.
    public var onceMax = OnceMemory.usualMax
    /// The bytes of the names of all that is subscribed to, each counted once.
    public var nameBytesMax = 1 << 30
    /// The passwords that AUTH must be given.
    public var credentials = Credentials()
    /// For clients that subscribe, attach or watch; Redis's default (redis.conf).
    public var pubsubOutputLimit = OutputLimit(
        hard: 32 * 1024 * 1024, soft: 8 * 1024 * 1024, softDuration: .seconds(60))
    /// For all others. Redis has no limit here; this lets the longest reply pass. Where it is set to 0,
    /// `byteCountMax` is the bound.
    public var normalOutputLimit = OutputLimit(
        hard: 128 * 1024 * 1024, soft: 0, softDuration: .seconds(0))
    /// For replicas, which are none here: it is kept for those who read it. Redis's default.
    public var replicaOutputLimit = OutputLimit(
        hard: 256 * 1024 * 1024, soft: 64 * 1024 * 1024, softDuration: .seconds(60))
    /// The policy of clients that do not choose with MESH.POLICY.
    public var slowConsumerPolicy = SlowConsumerPolicy.disconnect
    /// Messages that wait for one client under `drop-oldest`, `drop-newest` and `latest`, with 32
    /// bytes for each: Redis's soft limit. Some 256 KiB more are on their way to the socket.
    public var slowBytesMax = 8 * 1024 * 1024
    /// Messages, and bytes, that wait for one session without a connection.
    public var sessionCountMax = 1_000
    public var sessionBytesMax = 4 * 1024 * 1024
    /// How long a session without a connection is kept; at most some minutes are sensible.
    public var sessionGrace: Delay = .seconds(10)
    /// Sessions, with and without a connection; some 300 bytes each besides what waits.
    public var sessionsMax = 1_000_000
    /// The address that clients connect to, for CLIENT LIST.
    public var localAddress = "127.0.0.1:6379"
    /// Where clients are sent that are to come to this node, by other nodes: `HOST:PORT`, 64 bytes at most.
    /// Nil: clients of other machines cannot reach this node, which takes their sessions all the same.
    /// Empty: it takes none.
    public var clientAddress: String? = ""
    /// The other nodes reach this one at a loopback address, so they are on its machine.
    public var sharesMachine = false

    public init() {}

    /// The connections that one host of another machine may have.
    var clientsOfHostMax: Int { max(1, clientCountMax / 2) }

    /// The bounds of commands.
    func requestLimits(isAuthenticated: Bool) -> RESPLimits {
        let messageMax = max(1, min(messageBytesMax, Frame.payloadMax, memory.messageMax))
        return RESPLimits(
            requestBytesMax: min(requestBytesMax, Self.byteCountMax, memory.input),
            messageBytesMax: messageMax, isAuthenticated: isAuthenticated)
    }

    /// Below this no hard limit is met, and nothing is counted at once.
    var outputAlarm: Int {
        min(pubsubOutputLimit.bound, normalOutputLimit.bound, memory.outputTrifle)
    }

    /// Reads `class hard soft seconds`, several times, as Redis's `client-output-buffer-limit`;
    /// nil when all is well, else the reason.
    public mutating func setOutputLimits(_ text: String) -> OutputLimitFault? {
        let words = text.split(separator: " ").map { String($0).lowercased() }
        guard !words.isEmpty, words.count % 4 == 0 else {
            return .wordCount
        }
        for start in stride(from: 0, to: words.count, by: 4) {
            guard let hard = Self.byteCount(words[start + 1]),
                let soft = Self.byteCount(words[start + 2]),
                let seconds = Int64(words[start + 3]), (0...1 << 31).contains(seconds)
            else {
                return .value
            }
            let limit = OutputLimit(hard: hard, soft: soft, softDuration: .seconds(seconds))
            switch words[start] {
            case "normal": normalOutputLimit = limit
            case "pubsub": pubsubOutputLimit = limit
            case "slave", "replica": replicaOutputLimit = limit
            default: return .unknownClass
            }
        }
        return nil
    }

    /// The most that a size can be set to, and that waits for one client whatever is set: 1 GiB. A
    /// queue that has passed it by one message is still shorter than the 2 GiB that offsets reach.
    public static let byteCountMax = 1 << 30

    /// `32mb`, `8k`, `100`: as `memtoull` of Redis reads it, in lower case. Nil for anything else,
    /// and for more than `most`.
    public static func byteCount(_ word: String, most: Int = byteCountMax) -> Int? {
        let digits = word.prefix { $0.isASCII && $0.isNumber }
        let units: [(String, Int)] = [
            ("", 1), ("b", 1), ("k", 1_000), ("kb", 1 << 10), ("m", 1_000_000), ("mb", 1 << 20),
            ("g", 1_000_000_000), ("gb", 1 << 30),
        ]
        let unit = word.dropFirst(digits.count)
        guard let value = Int(digits), let size = units.first(where: { $0.0 == unit })?.1 else {
            return nil
        }
        let (count, isTooLarge) = value.multipliedReportingOverflow(by: size)
        return isTooLarge || count > most ? nil : count
    }
}

/// How much output may wait for a client that does not read.
public struct OutputLimit: Sendable {
    /// Bytes at which the client is ended at once; 0: `GatewayConfiguration.byteCountMax`.
    public var hard: Int
    /// Bytes above which the client is ended after `softDuration` without a pause; 0: no limit.
    public var soft: Int
    public var softDuration: Delay

    public init(hard: Int, soft: Int, softDuration: Delay) {
        self.hard = hard
        self.soft = soft
        self.softDuration = softDuration
    }

    /// The bytes beyond which the client is ended at once.
    var bound: Int {
        hard > 0
            ? min(hard, GatewayConfiguration.byteCountMax) : GatewayConfiguration.byteCountMax
    }
}

/// The bounds that are compared with each command.
struct ClientLimits {
    /// For clients, and for those who have not authenticated themselves.
    let request: RESPLimits
    let stranger: RESPLimits

    init(_ configuration: GatewayConfiguration) {
        request = configuration.requestLimits(isAuthenticated: true)
        stranger = configuration.requestLimits(isAuthenticated: false)
    }
}
