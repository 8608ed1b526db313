import MeshWire

/// Nodes that speak no version of the wire that this node speaks.
extension Node {
    /// A greeting of such a node. It is told by a refusal, which every version reads, and a person by
    /// the log. Elsewhere than at its place a greeting breaks the protocol in any version.
    mutating func receivedOtherVersion(
        _ error: WireError, on index: LinkIndex, _ effects: inout EffectBuffer
    ) {
        switch links[index].state {
        case .awaiting:
            effects.append(.log(.wrongVersion(index, error)))
            refuse(index, .wrongVersion, &effects)
        case .greeting:
            effects.append(.log(.wrongVersion(index, error)))
            postpone(links[index].member)
            forget(index, &effects)
        case .free, .dialling, .introducing, .established, .closing:
            breach(error, on: index, &effects)
        }
    }
}
