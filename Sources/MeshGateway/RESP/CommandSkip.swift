import MeshWire

/// Passes over the rest of a command that is given up, whatever it is, so that the connection can go on
/// with the next one.
struct CommandSkip {
    /// The array's header has not come whole.
    private var isAtStart = true
    private var argumentsLeft = 0
    /// Of the argument at hand, with its end.
    private var bytesLeft = 0

    /// Passes over what is there of the command, from `offset` on, which moves.
    ///
    /// - Returns: the command's end has been passed. False: more is to come.
    mutating func advance(_ input: Span<UInt8>, _ offset: inout Int) throws(RESPError) -> Bool {
        while true {
            let passed = min(bytesLeft, input.count - offset)
            offset += passed
            bytesLeft -= passed
            if bytesLeft > 0 { return false }
            if !isAtStart, argumentsLeft == 0 { return true }
            guard offset < input.count else { return false }
            let marker = input[offset]
            guard marker == UInt8(ascii: isAtStart ? "*" : "$") else {
                throw .expectedDollar(marker)
            }
            var position = offset + 1
            switch RESPParser.length(input, &position) {
            case .incomplete: return false
            case .malformed: throw isAtStart ? .multibulkLength : .bulkLength
            case .value(let count):
                guard count >= 0 else { throw .bulkLength }
                offset = position
                if isAtStart {
                    isAtStart = false
                    argumentsLeft = count
                } else {
                    argumentsLeft -= 1
                    bytesLeft = count + 2
                }
            }
        }
    }
}
