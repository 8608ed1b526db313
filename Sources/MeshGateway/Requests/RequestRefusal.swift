extension ClientRefusal {
    enum Holder: CaseIterable, Sendable {
        case connection, node
    }

    /// Whole commands, as a syntax error shows them.
    enum Usage: String, CaseIterable, Sendable {
        case request =
            """
            MESH.REQUEST SERVICE|USER|ROOM name payload [TIMEOUT ms] [KEY key] [WAIT] [RETRY] \
            [ALL] [ASYNC tag|STREAM tag]
            """
        case services = "MESH.SERVICES [pattern]"
        case serve = "MESH.SERVE service [CONCURRENCY n]"
        case reply = "MESH.REPLY request payload [MORE]"
        case reject = "MESH.REJECT request [reason]"
        case fail = "MESH.FAIL request [payload]"
    }
}
