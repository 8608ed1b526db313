import MeshCore
import MeshGateway

/// The programs with sessions of a run, those that send to them, and what their checker knows. Written
/// by `Run+Sessions` alone.
struct SessionLoad {
    var clients: [SessionClient] = []
    var checker = SessionChecker(count: 0)
    /// When a session last lost its connection, or got one.
    var changedAt = Instant(nanoseconds: 0)
    /// The line of the program beside each host that sends to sessions.
    var localLines: [Int: Int] = [:]
    var localDecoders: [Int: RESPDecoder] = [:]
    /// The hosts with a program beside them that watches all users.
    var watching: Set<Int> = []
    /// Programs that have shown a token which was exchanged, and wait for the answer.
    var probes: [Probe] = []
}
