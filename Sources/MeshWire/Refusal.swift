/// Why a node does not link with another; travels in `Message.refuse`.
public enum RefusalReason: UInt8, Sendable, CaseIterable {
    /// Another cluster's name or key.
    case wrongCluster = 1
    /// No common protocol version.
    case wrongVersion = 2
    /// The degree budget is used up.
    case full = 3
    /// Somebody else holds that stratum.
    case stratumTaken = 4
    /// There is a link between the two already.
    case duplicate = 5
    /// You dialled yourself.
    case oneself = 6
    /// You are known as dead in this incarnation; refute and come again.
    case dead = 7
    /// The answer to an introduction is complete; nothing is wrong.
    case introduced = 8
    /// This node is leaving.
    case leaving = 9
}
