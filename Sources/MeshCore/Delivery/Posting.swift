import MeshWire

extension Node {
    /// Sends a message to one node, whoever holds its key: a request to a node that was chosen, or a reply to
    /// the one that has asked. It goes in the flow to that node, as what is published does.
    ///
    /// - Parameters:
    ///   - message: `isVolatile` and `isReceivedHere` are not looked at.
    ///   - bytes: those that the message's slices point into.
    /// - Returns: `.nowhere` if the node is this one, no live member, or of a version of the wire that has no
    ///   requests; `.refused` if more is under way to it than may be kept: then `.undelivered` is among the
    ///   effects too.
    @inline(never)
    public mutating func post(
        _ message: OutgoingMessage, to destination: NodeID, bytes: Span<UInt8>, at now: Instant,
        into effects: inout EffectBuffer
    ) -> PublishOutcome {
        if now > self.now { self.now = now }
        flows.lastNumber &+= 1
        var outcome = PublishOutcome(number: flows.lastNumber)
        guard let index = members.index(of: destination), index != .oneself,
            members.status(of: index).isPresent, !isWithdrawn(index),
            members[index].capabilities.version >= Self.postedVersion
        else { return outcome }
        var message = message
        message.isVolatile = false
        message.isReceivedHere = false
        publishToOne(index, message, bytes, &outcome, &effects)
        if hasPendingChanges { settleChanges(&effects) }
        return outcome
    }

    /// False: the node is a live member of a version of the wire that has no requests.
    public func takesPosts(_ node: NodeID) -> Bool {
        guard let index = members.index(of: node), members.status(of: index).isPresent else {
            return true
        }
        return members[index].capabilities.version >= Self.postedVersion
    }

    /// The first version of the wire with bodies that are posted.
    private static var postedVersion: UInt16 { 3 }
}
