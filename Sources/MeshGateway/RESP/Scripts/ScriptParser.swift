/// From a script's text to its steps.
///
/// One pass by recursive descent: O(text), and no deeper than `Script.depthMax`.
struct ScriptParser {
    private var lexer: ScriptLexer
    private var script = Script()
    /// The names of the locals that can be seen here, by their places.
    private var locals: [[UInt8]] = []
    private var depth = 0

    /// The script of this text.
    static func parse(_ text: [UInt8]) throws(ScriptError) -> Script {
        guard text.count <= Script.textBytesMax else {
            throw ScriptError(line: 1, reason: .tooLong)
        }
        var parser = try ScriptParser(lexer: ScriptLexer(text))
        try parser.block()
        guard parser.lexer.token == .end else { throw parser.unexpected() }
        parser.add(.push(.null))
        parser.add(.end)
        return parser.script
    }

    private init(lexer: ScriptLexer) { self.lexer = lexer }

    // MARK: Words

    private func unexpected() -> ScriptError {
        let reason: ScriptError.Reason =
            lexer.token == .end ? .endOfText : .unexpected(lexer.excerpt)
        return ScriptError(line: lexer.line, reason: reason)
    }

    private func tooDeep() -> ScriptError { ScriptError(line: lexer.line, reason: .tooDeep) }

    private func isWord(_ word: StaticString) -> Bool {
        if case .name(let name) = lexer.token { return name.elementsEqual(word.description.utf8) }
        return false
    }

    private mutating func takeWord(_ word: StaticString) throws(ScriptError) -> Bool {
        guard isWord(word) else { return false }
        try lexer.advance()
        return true
    }

    private mutating func expectWord(_ word: StaticString) throws(ScriptError) {
        guard try takeWord(word) else { throw unexpected() }
    }

    private mutating func take(_ sign: String) throws(ScriptError) -> Bool {
        guard lexer.token == .sign(sign) else { return false }
        try lexer.advance()
        return true
    }

    private mutating func expect(_ sign: String) throws(ScriptError) {
        guard try take(sign) else { throw unexpected() }
    }

    private static let keywords = Set(
        [
            "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "if", "in",
            "local", "nil", "not", "or", "repeat", "return", "then", "true", "until", "while",
        ].map { Array($0.utf8) })

    /// A name that a script may give.
    private mutating func newName() throws(ScriptError) -> [UInt8] {
        guard case .name(let name) = lexer.token, !Self.keywords.contains(name) else {
            throw unexpected()
        }
        try lexer.advance()
        return name
    }

    // MARK: Steps

    private mutating func add(_ step: Script.Step) {
        if case .push(.text(let text)) = step { script.textBytes += text.count }
        script.steps.append(step)
        script.lines.append(UInt32(lexer.line))
    }

    /// A place for a local of this name, from here to the end of its block.
    @discardableResult
    private mutating func declare(_ name: [UInt8]) throws(ScriptError) -> Int {
        guard locals.count < Script.localCountMax else {
            throw tooDeep()
        }
        locals.append(name)
        script.localCount = max(script.localCount, locals.count)
        return locals.count - 1
    }

    private mutating func deeper() throws(ScriptError) {
        depth += 1
        guard depth <= Script.depthMax else {
            throw tooDeep()
        }
    }

    // MARK: Statements

    private mutating func block() throws(ScriptError) {
        try deeper()
        let outer = locals.count
        while !isWord("end"), lexer.token != .end {
            if try takeWord("return") {
                try returns()
                break
            }
            try statement()
            _ = try take(";")
        }
        locals.removeLast(locals.count - outer)
        depth -= 1
    }

    private mutating func returns() throws(ScriptError) {
        if isWord("end") || lexer.token == .end || lexer.token == .sign(";") {
            add(.push(.null))
        } else {
            try value()
        }
        add(.end)
        _ = try take(";")
    }

    private mutating func statement() throws(ScriptError) {
        if try takeWord("local") {
            try declaration()
        } else if try takeWord("do") {
            try block()
            try expectWord("end")
        } else if try takeWord("for") {
            try loop()
        } else if isWord("redis") {
            try call()
            add(.drop)
        } else if case .name(let name) = lexer.token, let local = locals.lastIndex(of: name) {
            try lexer.advance()
            try expect("=")
            try value()
            add(.store(local: local))
        } else {
            throw unexpected()
        }
    }

    private mutating func declaration() throws(ScriptError) {
        var names = [try newName()]
        while try take(",") { names.append(try newName()) }
        var valueCount = 0
        if try take("=") {
            repeat {
                try value()
                valueCount += 1
                if valueCount > names.count {
                    add(.drop)
                    valueCount -= 1
                }
            } while try take(",")
        }
        while valueCount < names.count {
            add(.push(.null))
            valueCount += 1
        }
        // The values do not see the names.
        for name in names { try declare(name) }
        for place in 1...names.count { add(.store(local: locals.count - place)) }
    }

    private mutating func loop() throws(ScriptError) {
        let outer = locals.count
        let first = try newName()
        let begin: Int
        if try take("=") {
            try value()
            try expect(",")
            try value()
            if try take(",") { try value() } else { add(.push(.number(1))) }
            // A space is in no name that a script can give.
            for _ in 0..<3 { try declare(Array(" ".utf8)) }
            try declare(first)
            add(.beginCount(local: outer))
            begin = script.steps.count
            add(.countUp(local: outer, end: 0))
        } else {
            let second = try take(",") ? try newName() : Array(" ".utf8)
            try expectWord("in")
            try expectWord("ipairs")
            try expect("(")
            let isKeys = try list()
            try expect(")")
            try declare(Array(" ".utf8))
            try declare(first)
            try declare(second)
            add(.push(.number(0)))
            add(.store(local: outer))
            begin = script.steps.count
            add(.nextElement(ofKeys: isKeys, local: outer, end: 0))
        }
        try expectWord("do")
        try block()
        try expectWord("end")
        add(.jump(begin))
        let end = script.steps.count
        switch script.steps[begin] {
        case .countUp(let local, _): script.steps[begin] = .countUp(local: local, end: end)
        case .nextElement(let isKeys, let local, _):
            script.steps[begin] = .nextElement(ofKeys: isKeys, local: local, end: end)
        default: preconditionFailure("a loop begins with its step")
        }
        locals.removeLast(locals.count - outer)
    }

    /// KEYS or ARGV.
    private mutating func list() throws(ScriptError) -> Bool {
        if try takeWord("KEYS") { return true }
        try expectWord("ARGV")
        return false
    }

    private mutating func call() throws(ScriptError) {
        try expectWord("redis")
        try expect(".")
        let isProtected = isWord("pcall")
        guard isProtected || isWord("call") else { throw unexpected() }
        try lexer.advance()
        try expect("(")
        guard case .text(let name) = lexer.token else { throw unexpected() }
        let command = name.map { $0 &- UInt8(ascii: "A") < 26 ? $0 | 0x20 : $0 }
        let isShard = command.elementsEqual("spublish".utf8)
        guard isShard || command.elementsEqual("publish".utf8) else {
            throw ScriptError(line: lexer.line, reason: .command(Array(name.prefix(64))))
        }
        try lexer.advance()
        var argumentCount = 0
        while try take(",") {
            try value()
            argumentCount += 1
            // Another number than two is a fault when it is called, as in Redis.
            guard argumentCount < Script.listCountMax else { throw tooDeep() }
        }
        try expect(")")
        script.callCount += 1
        add(.publish(isShard: isShard, isProtected: isProtected, argumentCount: argumentCount))
    }

    // MARK: Values

    private mutating func value() throws(ScriptError) {
        try deeper()
        try sum()
        var joinCount = 0
        while try take("..") {
            try sum()
            joinCount += 1
            guard joinCount < Script.listCountMax else { throw tooDeep() }
        }
        // It groups from the right.
        for _ in 0..<joinCount { add(.join) }
        depth -= 1
    }

    private mutating func sum() throws(ScriptError) {
        try product()
        while true {
            if try take("+") {
                try product()
                add(.add)
            } else if try take("-") {
                try product()
                add(.subtract)
            } else {
                return
            }
        }
    }

    private mutating func product() throws(ScriptError) {
        try unary()
        while try take("*") {
            try unary()
            add(.multiply)
        }
    }

    private mutating func unary() throws(ScriptError) {
        try deeper()
        defer { depth -= 1 }
        if try take("-") {
            try unary()
            add(.negate)
        } else if try take("#") {
            if isWord("KEYS") || isWord("ARGV") {
                let isKeys = try list()
                if try take("[") {
                    try element(ofKeys: isKeys)
                    add(.length)
                } else {
                    add(.count(ofKeys: isKeys))
                }
            } else {
                try unary()
                add(.length)
            }
        } else {
            try primary()
        }
    }

    /// `[` has been read.
    private mutating func element(ofKeys isKeys: Bool) throws(ScriptError) {
        try value()
        try expect("]")
        add(.element(ofKeys: isKeys))
    }

    private mutating func primary() throws(ScriptError) {
        switch lexer.token {
        case .text(let text):
            try lexer.advance()
            add(.push(.text(text)))
        case .number(let number):
            try lexer.advance()
            add(.push(.number(number)))
        case .sign("("):
            try lexer.advance()
            try value()
            try expect(")")
        case .name(let name):
            if let local = locals.lastIndex(of: name) {
                try lexer.advance()
                add(.load(local: local))
            } else if isWord("redis") {
                try call()
            } else if isWord("KEYS") || isWord("ARGV") {
                let isKeys = try list()
                try expect("[")
                try element(ofKeys: isKeys)
            } else if try takeWord("nil") {
                add(.push(.null))
            } else if try takeWord("true") {
                add(.push(.truth(true)))
            } else if try takeWord("false") {
                add(.push(.truth(false)))
            } else {
                throw unexpected()
            }
        case .sign, .end: throw unexpected()
        }
    }
}
