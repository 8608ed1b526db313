/// The state that only Redis's commands know of.
struct RedisState {
    let table = CommandTable.shared
    /// The number of the connection that comes next, for CLIENT ID.
    var nextClientID: Int64 = 1
    /// The node is ready, and nobody wants to see a command before it is carried out.
    var takesShortWay = false
    var monitors = Monitors()
    var pause = ClientPause()
    var scripts = Scripts()
    var long = LongCommands()
}
