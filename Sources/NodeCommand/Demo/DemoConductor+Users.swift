/// The state of the users' talk.
struct TalkState {
    /// Four hundred messages a second and four publications: lively, and far from any limit.
    static let messageInterval = Duration.microseconds(2_500)
    static let publicationInterval = Duration.milliseconds(250)
    /// Copies under way at once. Beyond it the users are silent: the mesh is not well, and the books
    /// must stay small.
    static let openCountMax = 20_000

    var nextMessage = Duration.zero
    var nextPublication = Duration.zero
    var nextTrace = Duration.zero
    /// By user: not before this does it try to attach again.
    var retryAt: [Int: Duration] = [:]
    /// By node: when it is asked for its figures again; zero: never was.
    var questionsAt: [Duration] = []
    /// By node: presences that its watcher has still to be told before changes come.
    var initialPresences: [Int] = []
    /// Remarks that users want to make in the channel.
    var remarks: [(user: Int, text: String)] = []
    var count = 0
}

// Users: each has one connection, with which it is attached, listens to the channel and talks.

extension DemoConductor {
    // MARK: Attaching

    func attach(_ user: Int, to node: Int) {
        let connection = DemoConnection(node: node, port: model.nodes[node].redisPort)
        // First the channel: who is known to be here then has it already.
        connection?.ask(["SUBSCRIBE", DemoModel.channel], nil)
        connection?.ask(["MESH.ATTACH", model.users[user].name], .attach)
        connections[user] = connection
        if connection == nil { talk.retryAt[user] = model.now + .milliseconds(100) }
    }

    /// Users whose connection has ended go to another node.
    func attachMovingUsers() {
        for user in connections.indices where connections[user] == nil {
            if let time = talk.retryAt[user], model.now < time { continue }
            // Where the fewest are; with as many, the one after the former.
            let nodes = model.servingNodes
            let loads = nodes.map { node in connections.count { $0?.node == node } }
            guard let least = loads.min() else { return }
            let free = zip(nodes, loads).filter { $0.1 == least }.map { $0.0 }
            attach(user, to: free[user % free.count])
        }
    }

    func connectionEnded(of user: Int) {
        guard let connection = connections[user] else { return }
        connections[user] = nil
        // A node that is dying takes some time to be known as dead; others have no reason.
        talk.retryAt[user] = model.now + .milliseconds(5)
        if model.users[user].presence == .moving {
            talk.retryAt[user] = model.now + .milliseconds(100)
        }
        model.users[user].presence = .moving
        model.users[user].node = nil
        if model.nodes[connection.node].status == .serving {
            model.note(
                "\(model.users[user].name) lost its connection to node \(connection.node + 1)")
        }
    }

    private func attached(_ user: Int, to node: Int) {
        let former = model.users[user].presence
        model.users[user].presence = .online
        model.users[user].node = node
        talk.retryAt[user] = nil
        if former == .moving { userMoved() }
    }

    // MARK: Talking

    /// Says what is due.
    func speak() {
        // After a pause nobody makes up for what was not said.
        let past = model.now - .milliseconds(200)
        talk.nextMessage = max(talk.nextMessage, past)
        talk.nextPublication = max(talk.nextPublication, past)
        while talk.nextMessage <= model.now {
            talk.nextMessage += TalkState.messageInterval
            if model.ledger.openCount < TalkState.openCountMax { sendMessage() }
        }
        while talk.nextPublication <= model.now {
            talk.nextPublication += TalkState.publicationInterval
            if model.ledger.openCount < TalkState.openCountMax { publish() }
        }
    }

    private var speakers: [Int] {
        model.users.indices.filter {
            model.users[$0].presence == .online && $0 != scene.quietUser
        }
    }

    /// One user to another, who is elsewhere if anybody is. A user who moves is written to all the more.
    private func sendMessage() {
        guard let sender = speakers.randomElement(), let connection = connections[sender] else {
            return
        }
        let receivers = model.users.indices.filter { user in
            user != sender && user != scene.quietUser
                && [.online, .moving].contains(model.users[user].presence)
        }
        let elsewhere = receivers.filter { model.users[$0].node != connection.node }
        guard let receiver = elsewhere.randomElement() ?? receivers.randomElement() else { return }
        let time = clock
        let sequence = model.ledger.sent(
            from: sender, to: receiver, on: connection.node, at: time)
        talk.count += 1
        let message = DemoMessage(
            sender: model.users[sender].name, sequence: sequence, sentAt: time,
            text: DemoMessage.text(talk.count))
        let course = DemoLedger.Course(sender: sender, receiver: receiver, isChannel: false)
        connection.ask(
            ["MESH.SEND", model.users[receiver].name, message.encoded],
            .sent(course, sequence: sequence))
    }

    private func publish() {
        var text = DemoMessage.text(model.ledger.sentToChannel)
        var sender = speakers.randomElement()
        if let remark = talk.remarks.first {
            talk.remarks.removeFirst()
            if speakers.contains(remark.user) { (sender, text) = (remark.user, remark.text) }
        }
        guard let sender, let connection = connections[sender] else { return }
        let listeners = model.users.indices.filter { model.users[$0].presence != .absent }
        let time = clock
        let sequence = model.ledger.published(
            from: sender, to: Array(listeners), on: connection.node, at: time)
        let message = DemoMessage(
            sender: model.users[sender].name, sequence: sequence, sentAt: time, text: text)
        connection.ask(["PUBLISH", DemoModel.channel, message.encoded], .published)
    }

    // MARK: Hearing

    func take(_ input: DemoConnection.Input, fromUser user: Int) {
        switch input {
        case .push(let values):
            guard values.count == 3, case .text(let text) = values[2] else { return }
            switch values[0] {
            case .text("user"): hear(text, user, isChannel: false)
            case .text("message"): hear(text, user, isChannel: true)
            default: break
            }
        case .reply(.error(let text), to: let question):
            // A node that ends, or has not all members yet, may refuse; then it is tried elsewhere.
            if case .attach = question {
                connectionEnded(of: user)
            } else {
                fault("\(model.users[user].name) was answered: \(text)")
            }
        case .reply(let reply, to: let question):
            switch question {
            case .attach:
                guard let node = connections[user]?.node else { return }
                if model.users[user].presence == .resting {
                    returned(user)
                } else {
                    attached(user, to: node)
                }
            case .detach: detached(user)
            case .sent(let course, let sequence):
                model.ledger.answered(course, sequence, reply.number ?? 0)
            case .sentToAbsent:
                if reply.number == 0 { model.presences.refusedAbsent += 1 }
            default: break
            }
        }
    }

    private func hear(_ text: String, _ user: Int, isChannel: Bool) {
        guard let message = DemoMessage(text),
            let sender = model.users.firstIndex(where: { $0.name == message.sender })
        else {
            hearGuest(text, user, isChannel: isChannel)
            return
        }
        let course = DemoLedger.Course(sender: sender, receiver: user, isChannel: isChannel)
        let arrival = model.ledger.received(
            course, message.sequence, sentAt: message.sentAt, at: model.now)
        switch arrival {
        case .first: reached(user, from: sender, message)
        case .duplicate:
            model.note(
                "\(model.users[user].name) got \(message.sender) #\(message.sequence) again", .bad)
        case .unknown: hearGuest(text, user, isChannel: isChannel)
        }
    }

    /// Somebody has joined with a client of their own.
    private func hearGuest(_ text: String, _ user: Int, isChannel: Bool) {
        let text = Words.harmless(text)
        if isChannel {
            // All of them hear it; it is told once.
            if user == speakers.first {
                model.note("a guest in \(DemoModel.channel): \(text)", .good)
            }
        } else {
            let name = model.users[user].name
            model.note("a guest to \(name): \(text)", .good)
            if talk.remarks.count < 8 { talk.remarks.append((user, "a guest tells me: \(text)")) }
        }
    }
}
