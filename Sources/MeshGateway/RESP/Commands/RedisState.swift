/// The state that only Redis's commands know of.
struct RedisState {
    let table = CommandTable.shared
    /// The subject of the last `.report`.
    var report = Report.members
    /// The node is ready, and nobody wants to see a command before it is carried out.
    var takesShortWay = false
    var monitors = Monitors()
    var pause = ClientPause()
    var scripts = ScriptCache()
    /// Clients whose commands, or scripts, go on in the next turn.
    var resting: [ClientIndex] = []
}
