import MeshCore
import MeshGateway
import MeshWire

// The words of the log.

extension Server {
    /// The log's line for an event of the node.
    ///
    /// - Parameter endpoint: where the peer of a link connects from, or was dialled.
    public func line(for event: LogEvent, endpoint: (LinkIndex) -> Endpoint) -> LogLine {
        func node(_ id: NodeID) -> LogLine.Field { ("node", .text(id.description)) }
        func named(_ id: NodeID, _ rest: [LogLine.Field] = []) -> [LogLine.Field] {
            let name = self.node.name(of: id).map { [("name", LogLine.Value.text($0))] } ?? []
            return [node(id)] + name + rest
        }
        switch event {
        case .seedsSilent(let attempts, let failure):
            return LogLine(
                .warning, "noSeedAnswers",
                [
                    ("seeds", .text(seedsInWords)),
                    ("attempts", .integer(attempts)),
                    ("hint", .text(hint(failure) + "; trying again")),
                ])
        case .servesAlone:
            return LogLine(
                .warning, "servesAlone",
                [
                    ("seeds", .text(seedsInWords)),
                    (
                        "hint",
                        .text(
                            "no seed has answered, so this may be the first node; it goes on asking, "
                                + "and merges with the mesh that answers (see --alone-after)")
                    ),
                ])
        case .joined(let members): return LogLine(.info, "joined", [("members", .integer(members))])
        case .ready(let members, let keys):
            return LogLine(
                .info, "ready", [("members", .integer(members)), ("keys", .integer(keys))])
        case .memberUp(let id): return LogLine(.info, "memberUp", named(id))
        case .memberSuspect(let id, let doubt):
            return LogLine(.notice, "memberSuspect", named(id, cause(of: doubt)))
        case .memberDead(let id, let doubt):
            return LogLine(.warning, "memberDead", named(id, cause(of: doubt)))
        case .memberLeft(let id): return LogLine(.info, "memberLeft", named(id))
        case .linkUp(let id): return LogLine(.debug, "linkUp", named(id))
        case .linkDown(let id, let reason):
            return LogLine(.debug, "linkDown", named(id, [("reason", .text("\(reason)"))]))
        case .refused(let endpoint, let reason):
            // A cluster or version that does not fit needs a person; the rest is everyday life.
            let needsPerson = reason == .wrongCluster || reason == .wrongVersion
            let own = "\(Greeting.earliestVersion) to \(Greeting.currentVersion)"
            let words =
                reason == .wrongVersion
                ? "it speaks none of the versions \(own) of the wire, this node no other"
                : "\(reason)"
            return LogLine(
                needsPerson ? .warning : .debug, "refused",
                [("endpoint", .text(endpoint.description)), ("reason", .text(words))])
        case .otherCluster(let link):
            return LogLine(
                .warning, "otherCluster",
                [
                    ("address", .text(endpoint(link).description)),
                    ("cluster", .text(self.node.otherCluster)),
                    ("hint", .text("it was refused; see --cluster")),
                ])
        case .greetingDisplaced(let link):
            return LogLine(
                .warning, "greetingDisplaced",
                [
                    ("address", .text(endpoint(link).description)),
                    (
                        "hint",
                        .text(
                            "it had said nothing for longest of those that take all places for "
                                + "greetings; another has its own now")
                    ),
                ])
        case .addressShared(let other, let holder):
            let reports = self.node.memberReports()
            let names = Members(reports)
            let address = reports.first { $0.id == holder }?.endpoint.description ?? ""
            return LogLine(
                .warning, "addressShared",
                [
                    ("address", .text(address)), ("name", .text(names.name(other))),
                    node(other), ("holder", .text(names.name(holder))),
                    ("hint", .text("two nodes advertise this address; see --advertise")),
                ])
        case .memberUnreachable(let id):
            return about(
                id, "memberUnreachable",
                hint: "others hear it, but this node cannot connect to it: a wrong --advertise "
                    + "there, or a firewall or NAT between them")
        case .memberImpersonated(let id, let link):
            return about(
                id, "memberImpersonated",
                hint: "\(endpoint(link)) greets as this node, which is heard over its own link: "
                    + "it is refused; somebody lies at the mesh port")
        case .linkHollow(let id):
            return about(
                id, "linkHollow",
                hint: "both ends live, but what is sent over the link does not arrive: a path that "
                    + "drops packets, perhaps only large ones (MTU)? Other ways are taken for some "
                    + "minutes, and the next connections to it send small packets")
        case .memberMute(let id):
            return about(
                id, "memberMute",
                hint: "others hear it, and it has acknowledged nothing for 20 s: what was sent to "
                    + "it is given up, and nobody waits for it until it does")
        case .wrongVersion(let link, let error):
            return LogLine(
                .warning, "refused",
                [
                    ("endpoint", .text(endpoint(link).description)),
                    ("reason", .text(error.description)),
                ])
        case .refuted: return LogLine(.notice, "refuted")
        case .protocolError(let link, let peer, let error):
            return breach(
                "protocolError", at: endpoint(link), by: peer, error.description)
        }
    }

    /// The reason why a member is suspect or dead.
    private func cause(of doubt: Doubt) -> [LogLine.Field] {
        var fields: [LogLine.Field] = [("cause", .text("\(doubt.cause)"))]
        if let teller = doubt.teller {
            fields.append(("by", .text(node.name(of: teller) ?? teller.description)))
        }
        if let silence = doubt.silence {
            fields.append(("silentMilliseconds", .integer(Int(silence.milliseconds))))
        }
        return fields
    }

    /// A warning about a member.
    private func about(_ id: NodeID, _ event: String, hint: String) -> LogLine {
        let member = node.memberReports().first { $0.id == id }
        return LogLine(
            .warning, event,
            [
                ("address", .text(member?.endpoint.description ?? "")),
                ("name", .text(member?.name ?? "")), ("node", .text(id.description)),
                ("hint", .text(hint)),
            ])
    }

    private var seedsInWords: String {
        let configuration = node.configuration
        let all =
            configuration.seedNames.isEmpty
            ? configuration.seeds.map(\.description) : configuration.seedNames
        return all.joined(separator: " ")
    }

    /// A guess at what is wrong where no seed answers.
    private func hint(_ failure: SeedFailure) -> String {
        switch failure {
        case .waiting: "no answer yet"
        case .refused:
            "nothing listens there: is a node of this cluster running? The first node of a mesh needs "
                + "no seed"
        case .silent:
            "no connection comes about: is the address right, the machine up, and no firewall between?"
        case .late:
            "it answers too late: the connection stands, and the greeting takes more than 2 s"
        case .closed: "it ends the connection: is that a node of this cluster?"
        }
    }

    /// One line about a peer whose link is ended for what it did.
    ///
    /// - Parameters:
    ///   - peer: nil while it has not said who it is.
    ///   - hint: what it takes this port for, if that is known.
    public func breach(
        _ event: String, at endpoint: Endpoint, by peer: NodeID?, _ reason: String,
        hint: String? = nil
    ) -> LogLine {
        var fields: [LogLine.Field] = [("address", .text(endpoint.description))]
        if let peer {
            let name = node.memberReports().first { $0.id == peer }?.name ?? ""
            if !name.isEmpty { fields.append(("name", .text(name))) }
            fields.append(("node", .text(peer.description)))
        }
        fields.append(("reason", .text(reason)))
        if let hint { fields.append(("hint", .text(hint))) }
        return LogLine(.warning, event, fields)
    }

    /// Clients that the gateway has ended because they read too slowly: a client may connect and do so again.
    mutating func reportCuts(_ effects: inout ServerEffects) {
        for cut in edge.gateway.hub.outbox.cuts {
            var fields: [LogLine.Field] = [
                ("client", .integer(Int(cut.id))), ("address", .text(cut.address)),
            ]
            if !cut.name.isEmpty { fields.append(("name", .text(cut.name))) }
            if !cut.channel.isEmpty { fields.append(("channel", .text(cut.channel))) }
            fields.append(("discardedBytes", .integer(cut.discardedBytes)))
            if cut.isForMemory {
                fields.append(("reason", .text("all clients together took more than their share")))
                fields.append(("hint", .text("--memory")))
            }
            let line = LogLine(.warning, "slowConsumerCut", fields)
            if gatheredLines.admit(line, from: cut.address, at: now) {
                effects.orders.append(.log(line))
            }
        }
        edge.gateway.hub.outbox.cuts.removeAll()
    }

    /// Troubles of clients, a line for each counter in ten seconds at the most.
    mutating func reportTroubles(_ effects: inout ServerEffects) {
        for trouble in edge.gateway.hub.outbox.complaints {
            var fields: [LogLine.Field] = [
                ("counter", .text("\(trouble.counter)")),
                ("count", .integer(Int(clamping: trouble.count))),
            ]
            if let client = trouble.client { fields.append(("client", .integer(Int(client)))) }
            for (field, value) in [
                ("address", trouble.address), ("name", trouble.name), ("user", trouble.user),
            ] where !value.isEmpty {
                fields.append((field, .text(value)))
            }
            effects.orders.append(.log(LogLine(.warning, "clientTrouble", fields)))
        }
        edge.gateway.hub.outbox.complaints.removeAll()
    }
}
