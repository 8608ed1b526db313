import MeshCore
import MeshGateway

/// One counter as /metrics and MESH.STATUS show it.
struct Figure {
    /// As MESH.STATUS has it: `messagesForwarded`.
    var name: String
    var help: String
    var value: UInt64

    /// As Prometheus has it, without `smallworld_`: `messages_forwarded_total`.
    var series: String {
        var words = ""
        for letter in name.unicodeScalars {
            if letter.properties.isUppercase { words += "_" }
            words += letter.properties.lowercaseMapping
        }
        return words + "_total"
    }
}

extension Counters {
    /// Those that are shown, in their order.
    var figures: [Figure] {
        Name.allCases.filter(\.isShown).map { name in
            Figure(name: "\(name)", help: name.rawValue, value: self[name])
        }
    }
}

// Counters and gauges, as Prometheus and MESH.STATUS show them.

extension Server {
    func counterFigures(_ facts: DriverFacts) -> [Figure] {
        node.counters.figures + edge.gateway.hub.counters.figures + counters.figures
            + facts.counters.figures
    }

    /// The text that Prometheus reads. Series per link are bounded by the degree.
    func metrics(_ facts: DriverFacts) -> String {
        var text = ""
        func add(_ name: String, _ type: String, _ help: String, _ samples: [(String, String)]) {
            text += "# HELP smallworld_\(name) \(help)\n# TYPE smallworld_\(name) \(type)\n"
            for (labels, value) in samples { text += "smallworld_\(name)\(labels) \(value)\n" }
        }
        func gauge(_ name: String, _ help: String, _ value: Int) {
            add(name, "gauge", help, [("", String(value))])
        }
        func label(_ value: String) -> String {
            var escaped = ""
            for character in value.unicodeScalars {
                switch character {
                case "\\": escaped += "\\\\"
                case "\"": escaped += "\\\""
                case "\n": escaped += "\\n"
                default: escaped.unicodeScalars.append(character)
                }
            }
            return "\"" + escaped + "\""
        }
        for figure in counterFigures(facts) {
            add(figure.series, "counter", figure.help, [("", String(figure.value))])
        }
        let clients = edge.gateway.hub.counters
        add(
            "slow_consumer_dropped_total", "counter",
            "Messages dropped for clients that read too slowly, by their policy.",
            [
                ("{policy=\"drop-oldest\"}", String(clients[.droppedOldest])),
                ("{policy=\"drop-newest\"}", String(clients[.droppedNewest])),
                ("{policy=\"latest\"}", String(clients[.droppedSuperseded])),
            ])
        add(
            "slow_consumer_disconnected_total", "counter",
            "Clients ended because they read too slowly.",
            [("{policy=\"disconnect\"}", String(clients[.clientsOverdue]))])
        add(
            "requests_total", "counter", "Requests of local clients that have ended, by outcome.",
            requestOutcomes(clients).map { ("{outcome=\"\($0.outcome)\"}", String($0.count)) })
        let sizes = node.tableSizes()
        add(
            "build_info", "gauge", "Which node and version this is.",
            [
                (
                    "{version=\(label(options.version)),node=\(label(node.configuration.name)),"
                        + "id=\(label(node.id.description)),zone=\(label(node.configuration.zone)),"
                        + "cluster=\(label(node.configuration.cluster))}", "1"
                )
            ])
        gauge("ready", "1 when the node serves.", unreadyReason == nil ? 1 : 0)
        gauge("uptime_seconds", "Seconds since the node started.", uptimeSeconds)
        gauge("members", "Members of the mesh that this node knows.", sizes.members)
        gauge("links", "Links that stand.", sizes.links)
        gauge("directory_entries", "Pairs of key and node in the directory.", sizes.entries)
        gauge("directory_bytes", "Memory of the directory.", sizes.directoryBytes)
        gauge("patterns", "Pairs of pattern and node.", sizes.patterns)
        gauge("clients", "Client connections.", edge.gateway.hub.clientCount)
        gauge("sessions", "Sessions of users.", edge.gateway.hub.sessionCount)
        gauge("rooms", "Rooms with members here.", edge.gateway.hub.roomCount)
        gauge("room_members", "Members of rooms here.", edge.gateway.hub.memberCount)
        gauge(
            "roster_views", "Rosters of rooms that local clients watch.",
            edge.gateway.hub.rosterViewCount)
        gauge(
            "sessions_waiting", "Sessions without a connection.",
            edge.gateway.hub.waitingSessionCount)
        gauge(
            "requests_open", "Requests of local clients that have not ended.",
            edge.gateway.hub.openRequestCount)
        let services = edge.gateway.hub.serviceCounts
        gauge("services", "Services that local clients serve.", services.services)
        gauge(
            "requests_taken", "Requests that local providers have or will get.", services.requests)
        gauge("http_connections", "HTTP connections.", facts.httpConnectionCount)
        let links = node.linkStatuses()
        func perLink(
            _ name: String, _ type: String, _ help: String, _ value: (LinkStatus) -> String?
        ) {
            add(
                name, type, help,
                links.compactMap { link in
                    value(link).map { ("{peer=\(label(link.peer.description))}", $0) }
                })
        }
        perLink("link_queue_bytes", "gauge", "Bytes that wait for a link.") {
            String(facts.queuedBytes($0.index))
        }
        perLink("link_round_trip_seconds", "gauge", "Measured round trip of a link.") {
            $0.roundTrip.map { String(Double($0.nanoseconds) / 1e9) }
        }
        perLink("link_doubted", "gauge", "1 when routing avoids the link.") {
            $0.isDoubted ? "1" : "0"
        }
        perLink("link_second_choice", "gauge", "1 when messages go over it for want of another.") {
            $0.isSecondChoice ? "1" : "0"
        }
        perLink("link_frames_in_total", "counter", "Frames received over a link.") {
            String($0.framesIn)
        }
        perLink("link_frames_out_total", "counter", "Frames sent over a link.") {
            String($0.framesOut)
        }
        perLink("link_bytes_in_total", "counter", "Bytes received over a link.") {
            String($0.bytesIn)
        }
        perLink("link_bytes_out_total", "counter", "Bytes sent over a link.") {
            String($0.bytesOut)
        }
        return text
    }
}

/// The counters of requests, by outcome.
private func requestOutcomes(_ counters: GatewayCounters) -> [(outcome: String, count: UInt64)] {
    [
        ("answered", counters[.requestsAnswered]), ("rejected", counters[.requestsRejected]),
        ("failed", counters[.requestsFailed]), ("busy", counters[.requestsBusy]),
        ("noservice", counters[.requestsUnserved]), ("died", counters[.requestsDied]),
        ("timeout", counters[.requestsTimedOut]), ("cancelled", counters[.requestsCancelled]),
    ]
}
