import MeshCore
import MeshWire

/// A script while it runs for one client: it stops at each publication, and goes on when that has been
/// taken by the node or refused. Meanwhile its command stays in the client's input.
///
/// Bounds: so many steps in all (`stepCountMax`), and the texts that it makes never take more than the
/// largest command at once.
struct ScriptRun {
    private let script: Script
    let name: SHA1
    /// KEYS, then ARGV: relative to the command's first byte, or to `line`.
    private let arguments: [Slice]
    private let keyCount: Int
    /// The words of an inline command, which do not lie in the input.
    private let line: [UInt8]?
    /// Bytes of the command in the input.
    let commandSize: Int
    /// Ends the state of a transaction with itself.
    let isAlone: Bool
    private let bytesMax: Int

    private var place = 0
    private var stack: [ScriptValue] = []
    private var locals: [ScriptValue]
    private var stepsLeft: Int
    private let stepCountMax: Int
    /// With less than this left others are served first.
    private var turnEnd: Int
    /// The last publication was refused, and the script with it.
    private var refusal: ScriptFault?
    /// Channel and payload of the publication that waits, as `Gateway.decodedLine` has them.
    private var waiting: (isShard: Bool, nameCount: Int, bytes: [UInt8])?

    /// Numbers are smaller than this: Lua writes them all in decimal digits.
    static let numberEnd = 100_000_000_000_000
    /// Steps between two turns of the driver, in which others are served; a publication is four. A guess,
    /// not yet measured.
    static let stepsPerTurn = 4_096

    enum Outcome {
        case publish(isShard: Bool, name: Slice, payload: Slice, bytes: [UInt8])
        /// Others are to be served first.
        case rest
        case end(ScriptValue)
        /// In this line, from 1.
        case failed(ScriptFault, line: Int)
    }

    init(
        _ script: Script, _ name: SHA1, arguments: [Slice], keyCount: Int, line: [UInt8]?,
        commandSize: Int, isAlone: Bool, bytesMax: Int
    ) {
        self.script = script
        self.name = name
        self.arguments = arguments
        self.keyCount = keyCount
        self.line = line
        self.commandSize = commandSize
        self.isAlone = isAlone
        self.bytesMax = bytesMax
        locals = [ScriptValue](repeating: .null, count: script.localCount)
        // Each call of the text once, and 64 for each argument.
        let publicationCountMax = script.callCount + 64 * (arguments.count + 16)
        // A payload can be put together anew for 64 channels, however long it is.
        stepCountMax = publicationCountMax * 64 + commandSize / 16
        stepsLeft = stepCountMax
        turnEnd = stepCountMax - Self.stepsPerTurn
    }

    // MARK: Running

    /// Goes on to the next publication, to the end, or until others are to be served.
    ///
    /// - Parameter base: where the command begins in the input.
    mutating func advance(_ input: Span<UInt8>, at base: Int) -> Outcome {
        if let waiting { return publication(waiting) }
        if let refusal {
            place -= 1
            return .failed(refusal, line: lineNumber)
        }
        while true {
            guard stepsLeft > 0 else {
                return .failed(.steps(countMax: stepCountMax), line: lineNumber)
            }
            if stepsLeft < turnEnd {
                turnEnd = stepsLeft - Self.stepsPerTurn
                return .rest
            }
            stepsLeft -= 1
            if case .end = script.steps[place] { return .end(stack.removeLast()) }
            if let fault = step(script.steps[place], input, base) {
                return .failed(fault, line: lineNumber)
            }
            place += 1
            if let waiting { return publication(waiting) }
        }
    }

    private func publication(
        _ waiting: (isShard: Bool, nameCount: Int, bytes: [UInt8])
    ) -> Outcome {
        .publish(
            isShard: waiting.isShard, name: Slice(start: 0, count: waiting.nameCount),
            payload: Slice(
                start: waiting.nameCount, count: waiting.bytes.count - waiting.nameCount),
            bytes: waiting.bytes)
    }

    /// The line of the step at hand, from 1.
    private var lineNumber: Int { Int(script.lines[min(place, script.lines.count - 1)]) }

    /// The publication that waited has been taken, and went to so many.
    mutating func published(_ count: Int) {
        guard waiting != nil else { return }
        waiting = nil
        stack.append(.number(count))
    }

    /// The publication that waited is refused: the script ends, or goes on with the fault.
    mutating func refuse(_ fault: ScriptFault) {
        waiting = nil
        if case .publish(_, isProtected: true, _) = script.steps[place - 1] {
            stack.append(.fault(fault))
        } else {
            refusal = fault
        }
    }

    /// One step; nil: well.
    private mutating func step(
        _ step: Script.Step, _ input: Span<UInt8>, _ base: Int
    ) -> ScriptFault? {
        switch step {
        case .push(let value): stack.append(value)
        case .load(let local): stack.append(locals[local])
        case .store(let local): locals[local] = stack.removeLast()
        case .drop: stack.removeLast()
        case .element(let isKeys): stack.append(element(ofKeys: isKeys, at: stack.removeLast()))
        case .count(let isKeys):
            stack.append(.number(isKeys ? keyCount : arguments.count - keyCount))
        case .length: return measure(input, base)
        case .join: return join(input, base)
        case .add: return calculate(input, base) { $0.addingReportingOverflow($1) }
        case .subtract: return calculate(input, base) { $0.subtractingReportingOverflow($1) }
        case .multiply: return calculate(input, base) { $0.multipliedReportingOverflow(by: $1) }
        case .negate:
            stack.append(.number(-1))
            return calculate(input, base) { $0.multipliedReportingOverflow(by: $1) }
        case .publish(let isShard, let isProtected, let argumentCount):
            guard let fault = prepare(isShard, argumentCount, input, base) else { return nil }
            guard isProtected else { return fault }
            stack.append(.fault(fault))
        case .beginCount(let local): return beginCount(local, input, base)
        case .countUp(let local, let end): countOn(local, end)
        case .nextElement(let isKeys, let local, let end):
            guard case .number(let last) = locals[local] else { return .number }
            let value = element(ofKeys: isKeys, at: .number(last + 1))
            if case .null = value {
                place = end - 1
            } else {
                locals[local] = .number(last + 1)
                locals[local + 1] = .number(last + 1)
                locals[local + 2] = value
            }
        case .jump(let target): place = target - 1
        case .end: break
        }
        return nil
    }

    // MARK: Values

    private func element(ofKeys isKeys: Bool, at index: ScriptValue) -> ScriptValue {
        guard case .number(let number) = index, number >= 1 else { return .null }
        let count = isKeys ? keyCount : arguments.count - keyCount
        return number <= count ? .argument((isKeys ? 0 : keyCount) + number - 1) : .null
    }

    /// The bytes of a text or a number; nil: it is neither.
    func bytes(_ value: ScriptValue, _ input: Span<UInt8>, _ base: Int) -> [UInt8]? {
        switch value {
        case .text(let text): return text
        case .number(let number): return Array(String(number).utf8)
        case .argument(let index):
            let slice = arguments[index]
            if let line { return Array(line[Int(slice.start)..<slice.end]) }
            var bytes: [UInt8] = []
            bytes.reserveCapacity(Int(slice.count))
            let start = base + Int(slice.start)
            for at in start..<(start + Int(slice.count)) { bytes.append(input[at]) }
            return bytes
        case .null, .truth, .fault: return nil
        }
    }

    private func byteCount(_ value: ScriptValue) -> Int {
        switch value {
        case .text(let text): text.count
        case .argument(let index): Int(arguments[index].count)
        default: 0
        }
    }

    /// As Lua names the kinds of values.
    private func kind(_ value: ScriptValue) -> String {
        switch value {
        case .null: "nil"
        case .truth: "boolean"
        case .number: "number"
        case .text, .argument: "string"
        case .fault: "table"
        }
    }

    /// The number that a value is, or that a text spells in decimal digits.
    private func number(_ value: ScriptValue, _ input: Span<UInt8>, _ base: Int) -> Int? {
        if case .number(let number) = value { return number }
        guard byteCount(value) <= 16, let digits = bytes(value, input, base),
            let number = Int(String(decoding: digits, as: UTF8.self)),
            number.magnitude < Self.numberEnd
        else { return nil }
        return number
    }

    private mutating func measure(_ input: Span<UInt8>, _ base: Int) -> ScriptFault? {
        let value = stack.removeLast()
        switch value {
        case .text, .argument: stack.append(.number(byteCount(value)))
        default: return .measured(kind(value))
        }
        return nil
    }

    private mutating func calculate(
        _ input: Span<UInt8>, _ base: Int,
        _ operation: (Int, Int) -> (partialValue: Int, overflow: Bool)
    ) -> ScriptFault? {
        let (right, left) = (stack.removeLast(), stack.removeLast())
        guard let first = number(left, input, base) else { return .calculated(kind(left)) }
        guard let second = number(right, input, base) else { return .calculated(kind(right)) }
        let (value, isTooLarge) = operation(first, second)
        guard !isTooLarge, value.magnitude < Self.numberEnd else { return .number }
        stack.append(.number(value))
        return nil
    }

    private mutating func join(_ input: Span<UInt8>, _ base: Int) -> ScriptFault? {
        let (right, left) = (stack.removeLast(), stack.removeLast())
        let size = byteCount(left) + byteCount(right)
        guard madeBytes + size <= bytesMax else { return .memory }
        guard let first = bytes(left, input, base) else { return .joined(kind(left)) }
        guard let second = bytes(right, input, base) else { return .joined(kind(right)) }
        charge(size)
        stack.append(.text(first + second))
        return nil
    }

    /// The bytes of all texts that the script has made and still has.
    private var madeBytes: Int {
        var sum = 0
        for case .text(let text) in locals { sum += text.count }
        for case .text(let text) in stack { sum += text.count }
        return sum
    }

    /// Copying costs steps.
    private mutating func charge(_ byteCount: Int) {
        stepsLeft = max(0, stepsLeft - byteCount / 1_024)
    }

    // MARK: Publications and loops

    private mutating func prepare(
        _ isShard: Bool, _ argumentCount: Int, _ input: Span<UInt8>, _ base: Int
    ) -> ScriptFault? {
        let given = Array(stack.suffix(argumentCount))
        stack.removeLast(argumentCount)
        // Redis looks at the types of all before it looks at their number.
        for value in given {
            switch value {
            case .text, .number, .argument: break
            case .null, .truth, .fault: return .argumentType
            }
        }
        guard given.count == 2 else { return .argumentCount }
        guard byteCount(given[0]) <= Frame.nameLengthMax else {
            return .channel(bytesMax: Frame.nameLengthMax)
        }
        guard byteCount(given[0]) + byteCount(given[1]) <= bytesMax else { return .memory }
        guard var text = bytes(given[0], input, base), let payload = bytes(given[1], input, base)
        else { return .argumentType }
        let nameCount = text.count
        text.append(contentsOf: payload)
        charge(text.count)
        stepsLeft = max(0, stepsLeft - 3)
        waiting = (isShard, nameCount, text)
        return nil
    }

    private mutating func beginCount(
        _ local: Int, _ input: Span<UInt8>, _ base: Int
    ) -> ScriptFault? {
        let values = stack.suffix(3).map { number($0, input, base) }
        let kinds = stack.suffix(3).map { kind($0) }
        stack.removeLast(3)
        for (value, word) in zip(values, ["initial value", "limit", "step"]) where value == nil {
            return .loop(word)
        }
        guard kinds.count == 3, let start = values[0], let limit = values[1], let step = values[2]
        else { return .number }
        locals[local] = .number(start - step)
        locals[local + 1] = .number(limit)
        locals[local + 2] = .number(step)
        return nil
    }

    private mutating func countOn(_ local: Int, _ end: Int) {
        guard case .number(let last) = locals[local], case .number(let limit) = locals[local + 1],
            case .number(let step) = locals[local + 2]
        else { preconditionFailure("a loop counts in numbers") }
        let next = last + step
        guard step > 0 ? next <= limit : next >= limit else {
            place = end - 1
            return
        }
        locals[local] = .number(next)
        locals[local + 3] = .number(next)
    }
}
