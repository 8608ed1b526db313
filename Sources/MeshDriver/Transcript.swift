import MeshGateway

// Texts of clients, as tests write them down.

extension MemoryMesh {
    /// Takes the bytes that wait for a client, as text: `·` is CR LF.
    public mutating func readText(_ client: ClientIndex, _ host: Int) -> String {
        String(decoding: read(client, host), as: UTF8.self)
            .split(separator: "\r\n", omittingEmptySubsequences: false).joined(separator: "·")
    }
}

/// The token of a session in such a text: `$49·token·…`.
public func sessionToken(_ reply: String) -> String {
    let words = reply.split(separator: "·")
    guard words.count > 1, words[0] == "$49" else { return "none in \(reply)" }
    return String(words[1])
}
