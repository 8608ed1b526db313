import MeshCore
import MeshServer

/// A client's connection to a node, with the kernels at both ends.
///
///     client ── write ──▶ on its way ──▶ input ──▶ server
///     client ◀─ read ── arrived ◀── on its way ◀── kernel ◀── output of the server
///
/// The node's kernel keeps what the client's machine has not taken, up to `room` bytes; the client's
/// machine takes up to `room` bytes that its program has not read.
struct ClientLine {
    /// The connection as the client sees it.
    enum End {
        case open
        /// The node has ended it, after all that was sent.
        case ended
        /// It is broken: the process at the other end is no more, or nobody listens.
        case broken
    }

    /// The client's own end of it.
    enum Use {
        case open
        /// Its program has closed it, or was killed.
        case closed
        /// Its machine is gone: nothing is taken, nothing is said.
        case vanished
    }

    let host: Int32
    let room: Int
    /// The program runs beside the node: nothing is on the way for long, and it reads at once.
    let isLocal: Bool
    /// The server's name of it; nil: it has not been accepted yet, or is closed there.
    var client: ClientIndex?
    /// Bytes of commands that the server has not taken yet.
    var input: [UInt8] = []
    /// The server does not want more input now.
    var isPaused = false
    /// The server ends it as soon as its output has left.
    var isEnding = false
    var kernel: [UInt8] = []
    /// Bytes of `kernel` will arrive in a moment.
    var isCarrying = false
    var arrived: [UInt8] = []
    var end = End.open
    var use = Use.open
    /// The server's number for it, by which it wants to be told how the connection ended.
    var doubt: UInt32?

    init(host: Int, room: Int, isLocal: Bool) {
        self.host = Int32(host)
        self.room = room
        self.isLocal = isLocal
    }
}
