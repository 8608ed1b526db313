/// Every copy of every message, from the moment that it is sent until its receiver has it.
///
/// A copy is one message on its way to one user. A sender's sequence numbers let the receiver tell a
/// copy that is missing from one that came twice or out of order; the ledger knows besides what was
/// sent and never arrived.
struct DemoLedger {
    /// Copies of one sender for one receiver, said to this user or in the channel.
    struct Course: Hashable {
        var sender: Int
        var receiver: Int
        var isChannel: Bool
    }

    /// A copy that has not arrived.
    struct Copy {
        var sequence: Int
        var sentAt: Duration
        /// Where the sender was attached.
        var node: Int
        /// The answer of the sender's node: the number of nodes it went to; nil before that.
        var answer: Int?
    }

    enum Arrival: Equatable {
        case first
        case duplicate
        /// Nothing like it was sent: a guest's words.
        case unknown
    }

    let userCount: Int
    private(set) var sentToUsers = 0
    private(set) var sentToChannel = 0
    private(set) var expected = 0
    private(set) var delivered = 0
    private(set) var duplicates = 0
    private(set) var outOfOrder = 0
    private(set) var latency = LatencyHistogram()
    /// The same, since it was last emptied.
    var recentLatency = LatencyHistogram()
    /// Copies on their way.
    var openCount: Int { expected - delivered }

    private struct Record {
        /// In order of their sequence numbers.
        var open: [Copy] = []
        var newestArrived = 0
    }
    private var records: [Record]
    private var userSequences: [Int]
    private var channelSequences: [Int]

    init(userCount: Int) {
        self.userCount = userCount
        records = [Record](repeating: Record(), count: 2 * userCount * userCount)
        userSequences = [Int](repeating: 0, count: userCount * userCount)
        channelSequences = [Int](repeating: 0, count: userCount)
    }

    var sent: Int { sentToUsers + sentToChannel }

    /// A message to one user; returns its sequence number.
    mutating func sent(from sender: Int, to receiver: Int, on node: Int, at time: Duration) -> Int {
        let pair = sender * userCount + receiver
        userSequences[pair] += 1
        sentToUsers += 1
        let course = Course(sender: sender, receiver: receiver, isChannel: false)
        open(course, userSequences[pair], node, time)
        return userSequences[pair]
    }

    /// A message to everybody in the channel; returns its sequence number.
    mutating func published(
        from sender: Int, to receivers: [Int], on node: Int, at time: Duration
    ) -> Int {
        channelSequences[sender] += 1
        sentToChannel += 1
        for receiver in receivers {
            let course = Course(sender: sender, receiver: receiver, isChannel: true)
            open(course, channelSequences[sender], node, time)
        }
        return channelSequences[sender]
    }

    private mutating func open(
        _ course: Course, _ sequence: Int, _ node: Int, _ time: Duration
    ) {
        expected += 1
        records[place(of: course)].open.append(Copy(sequence: sequence, sentAt: time, node: node))
    }

    /// The sender's node has answered to how many nodes a message to a user went.
    mutating func answered(_ course: Course, _ sequence: Int, _ nodeCount: Int) {
        let place = place(of: course)
        guard let found = records[place].open.firstIndex(where: { $0.sequence == sequence })
        else { return }
        records[place].open[found].answer = nodeCount
    }

    /// A receiver has got a message.
    mutating func received(
        _ course: Course, _ sequence: Int, sentAt: Duration, at time: Duration
    ) -> Arrival {
        let place = place(of: course)
        let newestSent =
            course.isChannel
            ? channelSequences[course.sender]
            : userSequences[course.sender * userCount + course.receiver]
        guard sequence <= newestSent else { return .unknown }
        guard let found = records[place].open.firstIndex(where: { $0.sequence == sequence })
        else {
            duplicates += 1
            return .duplicate
        }
        records[place].open.remove(at: found)
        if sequence < records[place].newestArrived { outOfOrder += 1 }
        records[place].newestArrived = max(records[place].newestArrived, sequence)
        delivered += 1
        latency.add(time - sentAt)
        recentLatency.add(time - sentAt)
        return .first
    }

    /// The copies sent before this time that have not arrived.
    func missing(before time: Duration) -> [(course: Course, copy: Copy)] {
        guard openCount > 0 else { return [] }
        var missing: [(course: Course, copy: Copy)] = []
        for place in records.indices where !records[place].open.isEmpty {
            let course = course(at: place)
            for copy in records[place].open where copy.sentAt < time {
                missing.append((course, copy))
            }
        }
        return missing
    }

    private func place(of course: Course) -> Int {
        let pair = course.sender * userCount + course.receiver
        return course.isChannel ? userCount * userCount + pair : pair
    }

    private func course(at place: Int) -> Course {
        let pair = place % (userCount * userCount)
        return Course(
            sender: pair / userCount, receiver: pair % userCount,
            isChannel: place >= userCount * userCount)
    }
}
