import MeshCore
import MeshWire

/// The questions of this node's clients, and of the gateway itself, that are open.
struct OpenQuestions: ~Copyable {
    private var questions: [QueryID: Question] = [:]
    private var next = QueryID(1)
    /// The bytes that the slices of the last `.ask` point into.
    var bytes = ByteQueue()
    /// More about the questions for channels, and for counts.
    var channels = ChannelQuestions()
    var counts = CountQuestions()

    /// Under a secret of this node, for the names that answers are gathered from.
    let hasher: KeyHasher

    init(_ hasher: KeyHasher) { self.hasher = hasher }

    var count: Int { questions.count }
    var isEmpty: Bool { questions.isEmpty }
    /// In no order.
    var ids: some Collection<QueryID> { questions.keys }

    subscript(id: QueryID) -> Question? {
        _read { yield questions[id] }
        _modify { yield &questions[id] }
    }

    /// A number that no question has had.
    mutating func takeID() -> QueryID {
        defer { next = next.next }
        return next
    }

    /// Takes a question out, so that what it has gathered is not copied when it grows.
    mutating func take(_ id: QueryID) -> Question? { questions.removeValue(forKey: id) }
}
