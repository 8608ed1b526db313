/// The cost that an event may have before it yields, in units of work: a byte compared, 64 places of a name or 64
/// bytes copied are one, an entry visited by its hash or over a pointer is eight. A unit is 1 to 3 ns.
public enum Work {
    /// The most that one event costs, but for the last thing that it has begun.
    public static let perEvent = 100_000
    /// The most that the costly events of one turn of a driver's loop cost together.
    public static let perTurn = 400_000
    /// Events up to this cost are not counted for the turn: there are thousands of them in it.
    public static let trifle = 1_000
}
