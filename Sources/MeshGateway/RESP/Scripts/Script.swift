/// A script of a client that does nothing but publish, as steps of a small machine with a stack.
///
/// Frameworks publish one event to many channels with a few lines of Lua; of that language this is
/// understood, and nothing else:
///
///     block      = { statement [ ";" ] } [ "return" [ value ] [ ";" ] ]
///     statement  = "local" names [ "=" values ] | name "=" value | call | "do" block "end"
///                | "for" name "=" value "," value [ "," value ] "do" block "end"
///                | "for" name [ "," name ] "in" "ipairs" "(" list ")" "do" block "end"
///     call       = "redis" "." ( "call" | "pcall" ) "(" publication "," value "," value ")"
///     value      = sum [ ".." value ]
///     sum        = product { ( "+" | "-" ) product }        product = unary { "*" unary }
///     unary      = ( "-" | "#" ) unary | text | number | name | call | "(" value ")"
///                | list "[" value "]" | "nil" | "true" | "false"
///     list       = "KEYS" | "ARGV"
///
/// A publication is 'publish' or 'spublish', in any case. Numbers are integers of less than 10^14,
/// which Lua writes without an exponent. Comments and texts are as in Lua 5.1.
struct Script: Sendable {
    enum Step: Sendable {
        case push(ScriptValue)
        case load(local: Int)
        case store(local: Int)
        case drop
        /// KEYS or ARGV at the index on the stack.
        case element(ofKeys: Bool)
        case count(ofKeys: Bool)
        case length
        case join, add, subtract, multiply, negate
        /// Takes payload and channel from the stack, in this order, and leaves the reply there. Any other
        /// number of arguments is a fault.
        case publish(isShard: Bool, isProtected: Bool, argumentCount: Int)
        /// Takes step, limit and start from the stack into three locals.
        case beginCount(local: Int)
        /// Goes on with the next number in the fourth local, or at `end`.
        case countUp(local: Int, end: Int)
        /// Goes on with the next index and element in the two locals after this one, or at `end`.
        case nextElement(ofKeys: Bool, local: Int, end: Int)
        case jump(Int)
        case end
    }

    var steps: [Step] = []
    /// The line of each step, from 1.
    var lines: [UInt32] = []
    /// Calls that stand in the text.
    var callCount = 0
    var localCount = 0

    /// The longest text of a script, in bytes.
    static let textBytesMax = 64 * 1024
    /// Values in parentheses, and blocks, in one another.
    static let depthMax = 64
    /// Texts that one value joins, and arguments of one call.
    static let listCountMax = 200
    /// As in Lua.
    static let localCountMax = 200

    /// The memory that it needs, in bytes.
    var byteCount: Int { steps.count * (MemoryLayout<Step>.stride + 4) + textBytes + 128 }
    /// The bytes of the texts in it.
    var textBytes = 0
}

/// A value while a script runs.
enum ScriptValue: Sendable {
    case null
    case truth(Bool)
    case number(Int)
    case text([UInt8])
    /// Of the arguments of EVAL, keys first, from 0: it is not copied.
    case argument(Int)
    /// The fault of a `redis.pcall`.
    case fault(ScriptFault)
}

/// The reason why a script ends before its end, in its line.
enum ScriptFault: Equatable, Sendable {
    case argumentCount
    case argumentType
    case joined(String)
    case calculated(String)
    case measured(String)
    case loop(String)
    case number
    case memory
    case steps(countMax: Int)
    case channel(bytesMax: Int)
    case notPermitted(user: String)
    case joining
}

/// A text that is no such script.
struct ScriptError: Error, Equatable {
    enum Reason: Equatable {
        case tooLong, tooDeep
        /// These bytes are not understood.
        case unexpected([UInt8])
        case endOfText
        /// A command that is not PUBLISH or SPUBLISH.
        case command([UInt8])
    }
    var line: Int
    var reason: Reason
}
