import MeshCore
import MeshGateway

/// A program that is a user in rooms, speaks there, and is told what others say; or one that watches who is
/// in them.
struct RoomProgram {
    /// A command whose answer has not come.
    enum Awaited {
        case greeting
        case attachment
        case join(Int)
        case leave(Int)
        case say(Int)
    }

    /// A room as a watcher has been told of it.
    struct Roster {
        /// By sid: the user.
        var members: [String: String] = [:]
        /// A list of all members is coming, in pieces.
        var isGathering = false
        /// A list has come whole, and all changes since.
        var isKnown = false
    }

    let name: String
    let isWatcher: Bool
    var line: Int?
    var host: Int?
    /// Without a connection it is away until then.
    var until: Instant
    var since = Instant(nanoseconds: 0)
    var decoder = RESPDecoder()
    var awaited = FIFO<Awaited>()
    var isAttached = false
    /// By room: it wants to be there, and the node has said that it is.
    var wants: [Bool]
    var isIn: [Bool]
    /// The messages that it has said and that were not answered, by number, with their rooms.
    var unanswered: [(number: Int, room: Int)] = []
    /// The numbers of the messages that it has had from each host.
    var had: [Int: Set<Int>] = [:]
    /// By room, of a watcher.
    var rosters: [Roster]

    init(name: String, isWatcher: Bool, roomCount: Int, comesAt: Instant) {
        self.name = name
        self.isWatcher = isWatcher
        until = comesAt
        wants = Array(repeating: false, count: roomCount)
        isIn = wants
        rosters = Array(repeating: Roster(), count: roomCount)
    }

    /// All that it has asked for has been answered, and its node has it where it wants to be.
    var isCalm: Bool {
        guard line != nil, awaited.isEmpty, unanswered.isEmpty else { return false }
        return isWatcher ? rosters.allSatisfy(\.isKnown) : isAttached && wants == isIn
    }
}

/// The programs in rooms of a run. Written by `Run+Rooms` alone.
struct RoomLoad {
    var programs: [RoomProgram] = []
    /// When a program last lost its connection, or changed the rooms that it is in.
    var changedAt = Instant(nanoseconds: 0)
    var saidCount = 0
    var saidAgainCount = 0
    var heardCount = 0
    var pushCount = 0
}
