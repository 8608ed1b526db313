import JSON5
import Testing

@Suite struct JSON5Tests {
    @Test(arguments: [
        ("{ nodes: 10 nodes: 2 }", 1, 13, "expected ',' or '}', found 'n'"),
        ("{ nodes: 10, nodes: 2 }", 1, 14, "'nodes' is there twice"),
        ("{ nodes 10 }", 1, 9, "expected ':' after 'nodes', found '1'"),
        ("{ nodes:\n }", 2, 2, "expected a value, found '}'"),
        ("{ nodes: ten }", 1, 10, "expected a value, found 't'"),
        ("[1, 2", 1, 6, "expected ',' or ']', found the end of the file"),
        ("{ nodes: 3, /* open", 1, 13, "this comment is never closed: expected */"),
        ("{ nodes: 3, about: 'open }", 1, 20, "this text is never closed: expected '''"),
        ("'\\u00g0'", 1, 3, "expected 4 hexadecimal digits of a character"),
        ("{ nodes: 3, degree: 1e }", 1, 21, "expected a number"),
        ("{ nodes: 3 } x", 1, 14, "expected the end of the file, found 'x'"),
        (String(repeating: "[", count: 65), 1, 65, "nested too deeply"),
    ])
    func `a mistake is an error with line, column and what was expected`(
        text: String, line: Int, column: Int, message: String
    ) {
        let error = #expect(throws: JSON5Error.self) { try JSON5.parse(text) }
        #expect(error?.line == line)
        #expect(error?.column == column)
        #expect(error?.message == message)
    }

    @Test func `JSON5 as people write it is read`() throws {
        let file = try JSON5.parse(
            """
            // A comment.
            { "nodes": +0x10, 'degree': -8, /* another */ duration: .5, about: 'it\\'s \\u0041\\
             whole', at: 2., most: Infinity, none: null, is: true,
              faults: ["30%", ['1'],], }
            """)
        #expect(
            shape(file)
                == "{nodes: 16.0, degree: -8.0, duration: 0.5, about: \"it's A whole\", at: 2.0, "
                + "most: inf, none: null, is: true, faults: [\"30%\", [\"1\"]]}")
    }

    @Test func `keys and values know where they stand`() throws {
        let file = try JSON5.parse("{ a: 1,\n  'b': [2] }")
        guard case .object(let members) = file.value else {
            Issue.record("not an object: \(file.kind)")
            return
        }
        #expect("\(members[1].error("no"))" == "line 2, column 3: no")
        #expect("\(members[1].value.error("no"))" == "line 2, column 8: no")
    }

    /// The value without its places.
    private func shape(_ json: JSON5) -> String {
        switch json.value {
        case .null: "null"
        case .bool(let value): "\(value)"
        case .number(let value): "\(value)"
        case .text(let value): "\"\(value)\""
        case .list(let values): "[" + values.map(shape).joined(separator: ", ") + "]"
        case .object(let members):
            "{" + members.map { "\($0.key): \(shape($0.value))" }.joined(separator: ", ") + "}"
        }
    }
}
