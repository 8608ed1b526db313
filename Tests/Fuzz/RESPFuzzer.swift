import MeshCore
import MeshDriver
import MeshServer
import MeshWire

/// Bytes of Redis clients, through the whole server: the same bytes get the same answers, however
/// they are cut, and two clients may send anything at once.
func fuzzRESP(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    guard count > 0 else { return 0 }
    let input = [UInt8](unsafe UnsafeBufferPointer(start: start, count: count))
    let cut = Int(input[0]) % count
    var whole = Session()
    whole.receive(input)
    var parts = Session()
    parts.receive(Array(input[..<cut]))
    parts.receive(Array(input[cut...]))
    let isSame = whole.output == parts.output
    precondition(isSame, "cut at \(cut) it answers otherwise")
    let haveBothEnded = whole.hasEnded == parts.hasEnded
    precondition(haveBothEnded)
    return 0
}

/// A server without a mesh, and one client.
struct Session: ~Copyable {
    private var mesh: MemoryMesh
    private let client: ClientIndex
    private(set) var output: [UInt8] = []
    private(set) var hasEnded = false

    init() {
        mesh = MemoryMesh(hasher: KeyHasher(1, 2), at: Instant(nanoseconds: 1_000_000_000))
        mesh.append(
            ServerOptions(node: Configuration(endpoint: MemoryMesh.endpoint(0), name: "subject")),
            id: NodeID(1), seed: 7)
        // Its answers must not depend on when it reads.
        client = mesh.open(0, isAvid: true)!
    }

    mutating func receive(_ bytes: [UInt8]) {
        if hasEnded { return }
        mesh.send(bytes, from: client, 0)
        mesh.settle()
        // A client that asks faster than it reads goes on when it has read.
        var more = mesh.read(client, 0)
        while !more.isEmpty {
            output += more
            more = mesh.read(client, 0)
        }
        hasEnded = mesh.isEnded(client, 0)
        precondition(hasEnded || !mesh.isPaused(client, 0), "it waits for nobody")
        if hasEnded { mesh.close(client, 0) }
    }
}
