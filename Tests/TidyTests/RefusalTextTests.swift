import Testing

/// Clients are refused in the words of one table for each protocol.
@Suite struct `Texts of refusals` {
    private static let table = "Sources/MeshGateway/RESP/RefusalWords.swift"

    /// The words in capitals with which the table's texts begin.
    private static func codes() throws -> Set<String> {
        let text = try Repository.text(table)
        return Set(text.matches(of: #/"([A-Z]{3,}) /#).map { String($0.1) })
    }

    /// Places where a text begins with such a word, or where an error is written from a text.
    private static func spelled(in file: SourceFile, _ codes: Set<String>) -> [String] {
        file.lines.indices.filter { index in
            let line = file.lines[index]
            if line.trimmingPrefix(while: { $0 == " " }).hasPrefix("//") { return false }
            if line.contains(/"-[A-Z]{3,}/) { return true }
            let words = line.matches(of: #/"([A-Z]{3,}) /#).map { String($0.1) }
            if words.contains(where: codes.contains) { return true }
            // The call's text may stand in the line below.
            let next = index + 1 < file.lines.count ? file.lines[index + 1] : ""
            return (line + next).contains(/(?:fail|appendError|\.error)\(\s*(?:\w+,\s*)?"/)
        }.map(file.place)
    }

    @Test(arguments: ["MeshGateway", "MeshServer"])
    func `stand in the table alone`(module: String) throws {
        let codes = try Self.codes()
        #expect(codes.count >= 10)
        for file in try Repository.swiftFiles(ofModule: module) where file.path != Self.table {
            let places = Self.spelled(in: file, codes)
            #expect(places.isEmpty, "\(places.joined(separator: "\n"))")
        }
    }

    /// The check above must be able to fail.
    @Test(arguments: [
        (#"fail(client, "ERR no such thing")"#, true), ("fail(\n    client, \"no\")", true),
        (#"let text = "NOAUTH Authentication required.""#, true),
        (#"output.append("-ERR no\r\n")"#, true), (#"output.appendError("no \(thing)")"#, true),
        (#"reply(client, .error("no"))"#, true), ("fail(client, .limit(.sessions))", false),
        ("// fail(client, \"ERR no\")", false), (#"output.append("$-1\r\n")"#, false),
        (#"case httpAccepted = "HTTP connections accepted.""#, false),
    ])
    func `elsewhere are found`(code: String, isSpelled: Bool) throws {
        let file = SourceFile(path: "A.swift", text: code)
        #expect(try !Self.spelled(in: file, Self.codes()).isEmpty == isSpelled)
    }

    /// Places where an answer of HTTP gets a status of 400 or more.
    private static func statuses(in file: SourceFile) -> [String] {
        file.places { $0.contains(/status: [45][0-9][0-9]/) }
    }

    @Test(arguments: ["MeshGateway", "MeshServer"])
    func `of HTTP stand in its table alone`(module: String) throws {
        let files = try Repository.swiftFiles(ofModule: module)
        for file in files where !file.path.hasSuffix("HTTP/HTTPRefusal.swift") {
            let places = Self.statuses(in: file)
            #expect(places.isEmpty, "\(places.joined(separator: "\n"))")
        }
    }

    /// The check above must be able to fail.
    @Test func `of HTTP elsewhere are found`() {
        let file = SourceFile(
            path: "A.swift",
            text: """
                return HTTPResponse(
                    status: 404, reason: "Not Found", body: "")
                return HTTPResponse(status: 200, reason: "OK", body: "")
                """)
        #expect(Self.statuses(in: file).count == 1)
    }
}
