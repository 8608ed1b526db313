import Glibc
import MeshGateway
import MeshTransport

/// How far the start is.
struct StartState {
    var nextQuestion = Duration.zero
    var hasAttached = false
    /// Nodes that are ready and know all others.
    var complete: Set<Int> = []
    /// Nodes that know where all users and all listeners of the channel are.
    var knowUsers: Set<Int> = []
    var knowChannel: Set<Int> = []
}

// Nodes: their processes, and what they tell.

extension DemoConductor {
    /// The start of a node and the spread of what it knows; a guess that includes slow machines.
    private var startPatience: Duration { .seconds(15) + .milliseconds(500) * options.nodeCount }

    // MARK: Processes

    /// Starts one more node, which joins through these.
    func addNode(seeds: [Int]) throws(SystemError) -> Int {
        let number = model.nodes.count + 1
        var arguments = [
            "node", "--name", Self.name(number), "--mesh", "127.0.0.1:0", "--redis", "127.0.0.1:0",
            "--http", "off", "--degree", String(DemoModel.degree), "--log-level", "warning",
        ]
        for seed in seeds { arguments += ["--seed", "127.0.0.1:\(meshPorts[seed])"] }
        processes.append(try NodeProcess(arguments))
        controls.append(nil)
        meshPorts.append(0)
        talk.questionsAt.append(.zero)
        talk.initialPresences.append(0)
        return model.addNode()
    }

    private static func name(_ number: Int) -> String { "node-\(number)" }

    /// The node with this name in the mesh.
    private func node(named name: String?) -> Int? {
        guard let name, name.hasPrefix("node-"), let number = Int(name.dropFirst(5)),
            number >= 1, number <= model.nodes.count
        else { return nil }
        return number - 1
    }

    func readOutput(of node: Int) {
        for line in processes[node]?.readLines() ?? [] {
            let words = line.split(separator: " ")
            guard words.count == 2, let colon = words[1].lastIndex(of: ":"),
                let port = UInt16(words[1][words[1].index(after: colon)...])
            else { continue }
            if words[0] == "mesh" { meshPorts[node] = port }
            if words[0] == "redis" {
                model.nodes[node].redisPort = port
                controls[node] = DemoConnection(node: node, port: port)
            }
        }
    }

    /// Nodes that have ended, by our hand or another's.
    func findEnded() throws(DemoError) {
        for node in processes.indices {
            guard let process = processes[node], process.output < 0, process.reap() else {
                continue
            }
            processes[node] = nil
            controls[node] = nil
            if model.nodes[node].status.isGone { continue }
            if model.phase == .starting {
                let last = process.tail.map { "  \($0)\n" }.joined()
                throw DemoError(
                    description: "node \(node + 1) ended while it started:\n"
                        + (last.isEmpty ? "  it has printed nothing" : last))
            }
            model.nodes[node].status = .fallen(at: model.now)
            model.note("node \(model.nodes[node].number) has ended by itself", .bad)
        }
    }

    // MARK: Start

    /// One step of the start: nodes one after the other, then the users, then patience until every
    /// node knows everything.
    func advanceStart() throws {
        guard model.now < startPatience else {
            throw DemoError(
                description: "the mesh was not complete after \(Words.seconds(startPatience)): "
                    + "\(start.complete.count) of \(options.nodeCount) nodes know all others, "
                    + "\(start.knowUsers.intersection(start.knowChannel).count) know all users")
        }
        if processes.count < options.nodeCount {
            if processes.isEmpty {
                _ = try addNode(seeds: [])
            } else if controls[processes.count - 1] != nil {
                if processes.count == 1 { beginShow() }
                // Any live node will do; two that differ, to show it.
                let last = processes.count - 1
                _ = try addNode(seeds: last == 0 ? [0] : [last, last / 2])
            }
        }
        guard model.now >= start.nextQuestion else { return }
        start.nextQuestion =
            model.now + max(.milliseconds(20), .milliseconds(2) * options.nodeCount)
        let everybody = Array(model.nodes.indices)
        if start.complete.count < options.nodeCount {
            for node in everybody where !start.complete.contains(node) {
                controls[node]?.ask(["MESH.STATUS"], .status)
            }
        } else if !start.hasAttached {
            start.hasAttached = true
            for node in everybody { controls[node]?.ask(["MESH.LINKS"], .links) }
            for user in model.users.indices { attach(user, to: model.firstNode(of: user)) }
        } else if model.users.allSatisfy({ $0.presence == .online }) {
            let users = model.users.map(\.name)
            for node in everybody where !start.knowUsers.contains(node) {
                controls[node]?.ask(["MESH.ONLINE"] + users, .online)
            }
            for node in everybody where !start.knowChannel.contains(node) {
                controls[node]?.ask(["PUBSUB", "NUMSUB", DemoModel.channel], .subscriberCount)
            }
            if start.knowUsers.count == options.nodeCount,
                start.knowChannel.count == options.nodeCount
            {
                beginTalk()
            }
        }
    }

    // MARK: Questions

    /// Asks each node for its figures and links once a second, one after the other, and now and then
    /// for the way of a message.
    func askNodes() {
        for node in model.servingNodes where talk.questionsAt[node] <= model.now {
            let isFirst = talk.questionsAt[node] == .zero
            talk.questionsAt[node] =
                model.now + .seconds(1)
                + (isFirst ? .seconds(1) * node / max(model.nodes.count, 1) : .zero)
            controls[node]?.ask(["MESH.STATUS"], .status)
            controls[node]?.ask(["MESH.LINKS"], .links)
        }
        if model.now >= talk.nextTrace {
            talk.nextTrace = model.now + .milliseconds(1_500)
            traceMessage()
        }
    }

    private func traceMessage() {
        let users = model.users.indices.filter {
            model.users[$0].presence == .online && $0 != scene.quietUser
        }
        guard let sender = users.randomElement(), let node = model.users[sender].node,
            let receiver = users.filter({ model.users[$0].node != node }).randomElement()
        else { return }
        controls[node]?.ask(
            ["MESH.TRACE", "USER", model.users[receiver].name],
            .trace(sender: sender, receiver: receiver))
    }

    func watchUsers(on node: Int) {
        talk.initialPresences[node] = model.users.count
        controls[node]?.ask(["MESH.WATCH"] + model.users.map(\.name), nil)
    }

    /// Nodes whose watcher has been told how things were when it began.
    var watchingNodes: [Int] {
        model.servingNodes.filter { controls[$0] != nil && talk.initialPresences[$0] == 0 }
    }

    // MARK: Answers

    func take(_ input: DemoConnection.Input, fromNode node: Int) {
        switch input {
        case .push(let values):
            guard values.count == 3, values[0] == .text("presence"),
                let user = model.users.firstIndex(where: { .text($0.name) == values[1] })
            else { return }
            if talk.initialPresences[node] > 0 {
                talk.initialPresences[node] -= 1
            } else {
                told(node, user: user, isOnline: values[2] == .text("online"))
            }
        case .reply(.error(let text), to: let question):
            // A node that starts says that it loads.
            if case .status = question { return }
            if model.phase != .starting { fault("node \(node + 1) answered: \(text)") }
        case .reply(let reply, to: let question): take(reply, to: question, from: node)
        }
    }

    /// Something that must not be; once for each text, and not without bound.
    func fault(_ text: String) {
        guard model.faults.count < 20, !model.faults.contains(text) else { return }
        model.faults.append(text)
        model.note(text, .bad)
    }

    private func take(_ reply: RESPReply, to question: DemoConnection.Question, from node: Int) {
        switch question {
        case .status: takeStatus(reply, of: node)
        case .links:
            model.nodes[node].links = reply.elements.compactMap { link in
                position(link["peer"]).flatMap { position in
                    model.nodes.firstIndex { $0.position == position }
                }
            }
        case .members:
            let names = reply.elements.filter { $0["status"] != .text("dead") }
                .map { $0["name"]?.shown }
            toldMembers(node, Set(names.compactMap { self.node(named: $0) }))
        case .whereabouts(let user):
            let holders = reply.elements.compactMap { self.node(named: $0["name"]?.shown) }
            toldWhereabouts(node, user, holders)
        case .online:
            if reply.elements.allSatisfy({ $0.number == 1 }) { start.knowUsers.insert(node) }
        case .subscriberCount:
            // Guests may listen already.
            if let count = reply.elements.last?.number, count >= model.users.count {
                start.knowChannel.insert(node)
            }
        case .trace(let sender, let receiver):
            let goal = model.users[receiver].node
            let way = reply.elements.first { self.node(named: $0["holder"]?.shown) == goal }
            guard let way, let goal, let first = model.users[sender].node else { return }
            var path = [first]
            for hop in way["path"]?.elements ?? [] {
                if let next = self.node(named: hop.shown), next != goal { path.append(next) }
            }
            path.append(goal)
            model.trace = DemoModel.Trace(sender: sender, receiver: receiver, path: path)
        case .hello, .attach, .detach, .sent, .sentToAbsent, .published: break
        }
    }

    private func takeStatus(_ status: RESPReply, of node: Int) {
        guard let position = position(status["id"]) else { return }
        model.nodes[node].position = position
        model.nodes[node].delivered = status["messagesDelivered"]?.number ?? 0
        model.nodes[node].hops = status["messageHops"]?.number ?? 0
        if model.nodes[node].status == .starting {
            let isReady = status["ready"]?.number == 1
            if isReady { model.nodes[node].status = .serving }
        }
        let count = model.nodes.count { !$0.status.isGone }
        let isComplete = status["ready"]?.number == 1 && status["members"]?.number == count
        if isComplete, count >= options.nodeCount { start.complete.insert(node) }
        if isComplete { toldComplete(node) }
    }

    private func position(_ id: RESPReply?) -> UInt64? {
        guard case .text(let digits)? = id else { return nil }
        return UInt64(digits, radix: 16)
    }
}
