import MeshCore
import MeshGateway
import MeshWire

/// Facts that only a driver knows, for `INFO`, `MESH.STATUS`, `MESH.LINKS` and `/metrics`.
public struct DriverFacts: Sendable {
    public var counters = DriverCounters()
    /// Bytes that wait for each link, by its place in the node's table; missing: none.
    public var queuedBytes: [Int] = []
    public var httpConnectionCount = 0
    /// The port of Redis clients; 0: there is none.
    public var redisPort = 0
    /// Since 1970.
    public var wallMicroseconds: Int64 = 0
    /// The resident memory of the process, in bytes.
    public var residentBytes = 0
    /// Processor time of the process in the kernel, in microseconds.
    public var systemMicroseconds: Int64 = 0
    /// Processor time of the process outside the kernel, in microseconds.
    public var userMicroseconds: Int64 = 0
    /// Of INFO's section Server: the process and its machine.
    public var hostLines: [String] = []
    /// 40 hexadecimal digits, another for each run.
    public var runID = ""

    public init() {}

    func queuedBytes(_ link: LinkIndex) -> Int {
        !link.isNone && link.slot < queuedBytes.count ? queuedBytes[link.slot] : 0
    }
}

// Answers to clients that ask about the node itself.

extension Server {
    /// Answers the report that `command` has returned `.needsFacts` for.
    ///
    /// - Returns: `.next` or `.paused`, with which the driver goes on as after a `command`.
    public mutating func answer(
        with facts: DriverFacts, at now: Instant, into effects: inout ServerEffects
    ) -> ClientStep {
        self.now = now
        guard let (client, report) = pendingReport else { return .next }
        pendingReport = nil
        let before = edge.gateway.hub.outputCount(client)
        answer(report, to: client, facts, &effects)
        return goOn(client, after: before)
    }

    func needsFacts(_ report: Report) -> Bool {
        switch report {
        case .links, .status, .info, .time, .monitor: true
        case .members, .online, .whereabouts, .watch, .patternCount: false
        }
    }

    mutating func answer(
        _ report: Report, to client: ClientIndex, _ facts: DriverFacts?,
        _ effects: inout ServerEffects
    ) {
        let facts = facts ?? DriverFacts()
        switch report {
        case .patternCount:
            edge.gateway.reply(client, .integer(node.patternCount))
        case .members:
            let stalled = node.stalledDestinations()
            edge.gateway.reply(
                client,
                .array(
                    node.memberReports().map { member in
                        Self.describe(member, stalled.first { $0.node == member.id }?.age)
                    }))
        case .links:
            edge.gateway.reply(client, .array(node.linkStatuses().map { Self.describe($0, facts) }))
        case .monitor:
            edge.gateway.beginMonitoring(client, wallMicroseconds: facts.wallMicroseconds)
        case .time:
            let (seconds, rest) = facts.wallMicroseconds.quotientAndRemainder(
                dividingBy: 1_000_000)
            edge.gateway.reply(client, .array([.text("\(seconds)"), .text("\(rest)")]))
        case .status: edge.gateway.reply(client, status(facts))
        case .online(let users):
            edge.gateway.onlineNow(client, users.map { isOnline($0) })
        case .whereabouts(let asked, let user):
            let holders = holders(of: asked)
            if holders.count < 2 {
                replyWhereabouts(holders, to: client)
            } else {
                let (query, question) = edge.gateway.hub.locate(asked, user: user, for: client)
                ask(query, question, &effects)
            }
        case .watch(let users):
            for (index, user) in users.enumerated() {
                edge.gateway.hub.presenceNow(client, user: index, isOnline: isOnline(user))
            }
        case .info(let sections):
            let text = edge.gateway.information(
                sections: sections, additional: additionalInformation(facts))
            edge.gateway.reply(client, .verbatim(text))
        }
    }

    func holders(of user: AskedUser) -> [NodeID] {
        node.holders(of: user.key, name: user.name, isHere: user.isHere)
    }

    private func isOnline(_ user: AskedUser) -> Bool {
        node.hasHolder(user.key, name: user.name, isHere: user.isHere)
    }

    mutating func replyWhereabouts(_ holders: [NodeID], to client: ClientIndex) {
        let members = node.memberReports().filter { holders.contains($0.id) }
        edge.gateway.reply(
            client,
            .array(
                members.map { member in
                    .map([
                        ("id", .text(member.id.description)),
                        ("name", .text(member.name)),
                        ("zone", .text(member.zone)),
                        ("endpoint", .text(member.endpoint.description)),
                    ])
                }))
    }

    private static func describe(_ member: MemberReport, _ stalled: Delay?) -> ReplyValue {
        .map([
            ("id", .text(member.id.description)),
            ("name", .text(member.name)),
            ("zone", .text(member.zone)),
            ("endpoint", .text(member.endpoint.description)),
            ("status", .text(member.statusName)),
            ("incarnation", .integer(Int(truncatingIfNeeded: member.incarnation.rawValue))),
            ("keys", .integer(member.keyCount)),
            ("wire", .integer(Int(member.wireVersion))),
            ("stalledMilliseconds", .integer(Int((stalled?.microseconds ?? 0) / 1_000))),
            ("self", .integer(member.isSelf ? 1 : 0)),
        ])
    }

    private static func describe(_ link: LinkStatus, _ facts: DriverFacts) -> ReplyValue {
        .map([
            ("peer", .text(link.peer.description)),
            ("endpoint", .text(link.endpoint.description)),
            ("role", .text(link.role)),
            (
                "roundTripMicroseconds",
                link.roundTrip.map { .integer(Int($0.microseconds)) } ?? .null
            ),
            ("doubted", .integer(link.isDoubted ? 1 : 0)),
            ("secondChoice", .integer(link.isSecondChoice ? 1 : 0)),
            ("queuedBytes", .integer(facts.queuedBytes(link.index))),
            ("framesIn", .integer(Int(clamping: link.framesIn))),
            ("framesOut", .integer(Int(clamping: link.framesOut))),
            ("bytesIn", .integer(Int(clamping: link.bytesIn))),
            ("bytesOut", .integer(Int(clamping: link.bytesOut))),
        ])
    }

    private func status(_ facts: DriverFacts) -> ReplyValue {
        let sizes = node.tableSizes()
        var fields: [(String, ReplyValue)] = [
            ("id", .text(node.id.description)),
            ("name", .text(node.configuration.name)),
            ("zone", .text(node.configuration.zone)),
            ("cluster", .text(node.configuration.cluster)),
            ("version", .text(options.version)),
            ("endpoint", .text(node.configuration.endpoint.description)),
            ("ready", .integer(unreadyReason == nil ? 1 : 0)),
            ("alone", .integer(node.isAlone ? 1 : 0)),
            ("uptimeSeconds", .integer(uptimeSeconds)),
            ("members", .integer(sizes.members)),
            ("links", .integer(sizes.links)),
            ("stalled", .integer(node.stalledDestinations().count)),
            ("degree", .integer(node.configuration.degree)),
            ("entries", .integer(sizes.entries)),
            ("directoryBytes", .integer(sizes.directoryBytes)),
            ("patterns", .integer(sizes.patterns)),
            ("clients", .integer(edge.gateway.hub.clientCount)),
            ("sessions", .integer(edge.gateway.hub.sessionCount)),
            ("sessionsWaiting", .integer(edge.gateway.hub.waitingSessionCount)),
            ("rooms", .integer(edge.gateway.hub.roomCount)),
            ("roomMembers", .integer(edge.gateway.hub.memberCount)),
            ("slowConsumer", .text(edge.gateway.hub.slowConsumerPolicy.name)),
            (
                "slowDroppedOldest",
                .integer(Int(clamping: edge.gateway.hub.counters[.droppedOldest]))
            ),
            (
                "slowDroppedNewest",
                .integer(Int(clamping: edge.gateway.hub.counters[.droppedNewest]))
            ),
            (
                "slowDroppedLatest",
                .integer(Int(clamping: edge.gateway.hub.counters[.droppedSuperseded]))
            ),
            (
                "slowDisconnected",
                .integer(Int(clamping: edge.gateway.hub.counters[.clientsOverdue]))
            ),
        ]
        for figure in counterFigures(facts) {
            fields.append((figure.name, .integer(Int(clamping: figure.value))))
        }
        return .map(fields)
    }

    /// Seconds with six decimals.
    private static func decimal(_ microseconds: Int64) -> String {
        let (seconds, rest) = microseconds.quotientAndRemainder(dividingBy: 1_000_000)
        let digits = String(rest)
        return "\(seconds)." + String(repeating: "0", count: 6 - digits.count) + digits
    }

    var uptimeSeconds: Int { Int((now - startedAt).nanoseconds / 1_000_000_000) }

    /// INFO's lines that the gateway does not know.
    private func additionalInformation(_ facts: DriverFacts) -> [(section: String, lines: [String])]
    {
        let sizes = node.tableSizes()
        return [
            (
                "Server",
                [
                    "smallworld_version:\(options.version)",
                    "tcp_port:\(facts.redisPort)",
                    "uptime_in_seconds:\(uptimeSeconds)",
                    "uptime_in_days:\(uptimeSeconds / 86_400)",
                ] + facts.hostLines
            ),
            // Monitoring names an instance by it, beside the run's own number.
            ("Replication", ["master_replid:\(facts.runID)", "master_repl_offset:0"]),
            (
                "Memory",
                [
                    "used_memory:\(facts.residentBytes)",
                    "used_memory_rss:\(facts.residentBytes)",
                    "used_memory_human:\(facts.residentBytes >> 20)M",
                    "directory_bytes:\(sizes.directoryBytes)", "mem_allocator:libc",
                ]
            ),
            (
                "CPU",
                [
                    "used_cpu_sys:\(Self.decimal(facts.systemMicroseconds))",
                    "used_cpu_user:\(Self.decimal(facts.userMicroseconds))",
                ]
            ),
            ("Stats", ["total_net_input_bytes:\(facts.counters[.receivedBytes])"]),
            (
                "Mesh",
                [
                    "node_id:\(node.id)", "node_name:\(node.configuration.name)",
                    "cluster:\(node.configuration.cluster)", "members:\(sizes.members)",
                    "links:\(sizes.links)", "directory_entries:\(sizes.entries)",
                    "directory_bytes:\(sizes.directoryBytes)",
                    "ready:\(unreadyReason == nil ? 1 : 0)",
                ]
            ),
        ]
    }
}

/// Members by id, as people want to read of them.
struct Members {
    private let members: [NodeID: MemberReport]

    init(_ members: [MemberReport]) {
        self.members = Dictionary(
            members.map { ($0.id, $0) }, uniquingKeysWith: { first, _ in first })
    }

    /// Its name, or its id while it has none.
    func name(_ id: NodeID) -> String {
        guard let name = members[id]?.name, !name.isEmpty else { return id.description }
        return name
    }

    func way(to holder: NodeID, _ path: [String]?) -> TracedWay {
        TracedWay(
            holder: holder, name: name(holder),
            status: members[holder].map { "\($0.status)" } ?? "unknown", path: path)
    }
}
