import MeshCore
import MeshWire

/// A service at one node, as MESH.SERVICES shows it.
///
/// Nodes tell them as they tell the names of channels (ChannelQuestions), one in the place of each name:
///
///     row: providers 4 · given 4 · waiting 4 · served 8 · failed 8 · mean µs 8 · length 2, service · node's name
///
/// The asker puts the node's id before it.
struct ServiceRow: Equatable {
    var node: NodeID
    var service: [UInt8]
    /// That people call the node by; empty: it has none.
    var nodeName: [UInt8]
    var providers: UInt32
    var given: UInt32
    var waiting: UInt32
    var served: UInt64
    var failed: UInt64
    var meanMicroseconds: UInt64

    /// The longest name of a node.
    private static let nodeNameMax = 255
    private static let headSize = 8 + 3 * 4 + 3 * 8

    init(_ name: [UInt8], _ service: Services.Service, at node: NodeID, named nodeName: String) {
        self.node = node
        self.service = name
        self.nodeName = Array(nodeName.utf8.prefix(Self.nodeNameMax))
        providers = UInt32(clamping: service.providers.activeCount)
        given = UInt32(clamping: service.providers.givenCount)
        waiting = UInt32(clamping: service.waitingCount)
        served = service.record.served
        failed = service.record.failed
        meanMicroseconds = service.record.meanMicroseconds
    }

    /// Nil: the bytes are no row.
    init?(_ bytes: Span<UInt8>, _ start: Int, _ count: Int) {
        let end = start + count
        var at = start + Self.headSize
        guard at <= end, let name = Hub.name(bytes, &at, end),
            (1...RequestTarget.nameLengthMax).contains(Int(name.count)),
            end - at <= Self.nodeNameMax
        else { return nil }
        node = NodeID(bytes.load(UInt64.self, at: start))
        providers = bytes.load(UInt32.self, at: start + 8)
        given = bytes.load(UInt32.self, at: start + 12)
        waiting = bytes.load(UInt32.self, at: start + 16)
        served = bytes.load(UInt64.self, at: start + 20)
        failed = bytes.load(UInt64.self, at: start + 28)
        meanMicroseconds = bytes.load(UInt64.self, at: start + 36)
        service = bytes.array(name)
        nodeName = bytes.array(Slice(start: at, count: end - at))
    }

    /// With the node's id.
    var bytes: [UInt8] {
        var queue = ByteQueue()
        queue.append(integer: node.rawValue)
        queue.append(integer: providers)
        queue.append(integer: given)
        queue.append(integer: waiting)
        queue.append(integer: served)
        queue.append(integer: failed)
        queue.append(integer: meanMicroseconds)
        Hub.append(service, to: &queue)
        queue.append(nodeName)
        return queue.array
    }

    /// Another node's row, with that node's id before it; nil: it is none.
    static func told(_ input: Span<UInt8>, _ row: Slice, by node: NodeID) -> [UInt8]? {
        var queue = ByteQueue()
        queue.append(integer: node.rawValue)
        queue.append(input, Int(row.start), Int(row.count))
        let bytes = queue.array
        return ServiceRow(bytes.span, 0, bytes.count) == nil ? nil : bytes
    }

    /// Services in their order, and those of one name in the order of the nodes.
    static func sorted(_ set: NameSet) -> [ServiceRow] {
        var rows: [ServiceRow] = []
        set.forEach { if let row = ServiceRow($0, $1, $2) { rows.append(row) } }
        return rows.sorted {
            let order = lexicographicOrder($0.service.span, $1.service.span)
            return order == 0 ? $0.node < $1.node : order < 0
        }
    }
}

extension Hub {
    /// The words that stand for a topic in an answer about those of its kind: its name, or what is to be said
    /// of a service; nil: nothing.
    func words(for name: [UInt8], _ kind: TopicKind) -> [UInt8]? {
        guard kind == .service else { return name }
        return services[service: name].map {
            ServiceRow(name, $0, at: nodeID, named: nodeName).bytes
        }
    }
}
