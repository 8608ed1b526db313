extension ClientRefusal {
    enum Holder: CaseIterable, Sendable {
        case connection, node
    }

    /// Whole commands, as a syntax error shows them.
    enum Usage: String, CaseIterable, Sendable {
        case request =
            "MESH.REQUEST SERVICE name payload [TIMEOUT ms] [WAIT] [RETRY] [ASYNC tag]"
        case serve = "MESH.SERVE service [CONCURRENCY n]"
        case reply = "MESH.REPLY request payload"
        case reject = "MESH.REJECT request [reason]"
        case fail = "MESH.FAIL request [payload]"
    }
}
