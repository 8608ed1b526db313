import Foundation
import Testing

/// The state of a node stands in one struct, and each part of it is written by its owner: a folder of
/// `MeshCore`. A concern that must change another's state is an exception, with its reason.
private let owners: [String: (folder: String, others: [String: String])] = [
    "timers": (anybody, [:]),
    "random": (anybody, [:]),
    "counters": (anybody, [:]),
    "now": (
        "Node.swift",
        [
            "Delivery": "publishing is an entry of its own", "Overlay": "so is accepting a link",
            "Membership": "and telling that it drains",
        ]
    ),
    "isReady": ("Overlay", [:]),
    "hasPendingChanges": ("Membership", [:]),
    "links": (
        "Overlay",
        [
            "Membership": "what is heard over a link, and when it was compared",
            "Routing": "which lists have been told over it",
            "Directory": "when something was repaired over it",
            "Sending.swift": "what has been sent over it",
        ]
    ),
    "members": (
        "Membership",
        [
            "Directory": "a member's log", "Overlay": "the link to a member",
            "Routing": "drivers of thousands of nodes fetch members ahead",
        ]
    ),
    "coordinates": ("Overlay", ["Membership": "heartbeats measure round trips"]),
    "gossip": ("Membership", ["Directory": "a log has changed"]),
    "suspicions": ("Membership", ["Overlay": "somebody has answered"]),
    "departed": ("Membership", ["Overlay": "the oldest makes room for a newcomer"]),
    "lostMembers": ("Membership", ["Overlay": "their addresses are asked in turn"]),
    "longRange": ("Overlay", [:]),
    "join": ("Overlay", [:]),
    "dialLimits": ("Overlay", [:]),
    "departure": ("Overlay", [:]),
    "complaints": ("Overlay", [:]),
    "secondChoices": ("Overlay", [:]),
    "lists": ("Routing", ["Membership": "a member has gone"]),
    "router": (
        "Routing",
        [
            "Membership": "a member has come, gone or changed",
            "Reporting.swift": "a way that is asked for is cached too",
        ]
    ),
    "forwarding": ("Routing", ["Delivery": "a first hop is chosen with the same scratch"]),
    "directory": ("Directory", ["Delivery": "a match of patterns fills a scratch"]),
    "flows": (
        "Delivery",
        [
            "Routing": "the next message of a flow is passed where it is read",
            "Membership": "a member has gone", "Overlay": "memory is given back with the links'",
        ]
    ),
    "parked": ("Delivery", ["Directory": "a user has come whom messages wait for"]),
    "queries": ("Delivery", [:]),
]

/// One slot, stream or counter each: whoever needs it.
private let anybody = "*"

@Suite struct `Ownership of a node's state` {
    /// The stored variables of `Node`, and the names of functions that change what they are called on.
    private func read() throws -> (fields: [String], changes: Set<String>, files: [SourceFile]) {
        let files = try Repository.swiftFiles(ofModule: "MeshCore")
        let node = try Repository.swiftFile("Sources/MeshCore/Node.swift")
        let fields = node.code.prefix { !$0.contains("init(") }.compactMap { line in
            line.firstMatch(of: /^    (?:public internal\(set\) |private )?var (\w+)(?::| =)/)
                .map { String($0.1) }
        }
        var changes: Set<String> = [
            "append", "insert", "remove", "removeAll", "removeFirst", "removeLast", "popFirst",
            "popLast", "sort", "swapAt", "reserveCapacity", "formUnion", "subtract",
        ]
        for line in files.flatMap(\.code) {
            for match in line.matches(of: /mutating func (\w+)/) { changes.insert(String(match.1)) }
        }
        return (fields, changes, files)
    }

    @Test func `each field has an owner`() throws {
        let fields = try read().fields
        #expect(fields.count >= 20)
        #expect(Set(fields) == Set(owners.keys))
    }

    @Test func `a field is written by its owner, and by others for a reason`() throws {
        let (fields, changes, files) = try read()
        let finder = WriteFinder(fields: Set(fields), changes: changes)
        var used: Set<String> = []
        for file in files
        where file.code.contains(where: {
            $0.contains("extension Node") || $0.contains("struct Node:")
        }) {
            let parts = file.path.split(separator: "/").dropFirst(2)
            let folder = String(parts.first!)
            for index in file.code.indices {
                for field in finder.writes(in: file.code[index]) {
                    let (owner, others) = owners[field] ?? ("nobody", [:])
                    let isAllowed =
                        owner == anybody || owner == folder || others[folder] != nil
                        // It gives each its first value, and hands events on.
                        || folder == "Node.swift"
                    #expect(isAllowed, "\(field) is \(owner)'s: \(file.place(index))")
                    used.insert(field + " " + folder)
                }
            }
        }
        for (field, owner) in owners {
            for folder in owner.others.keys {
                #expect(used.contains(field + " " + folder), "\(folder) writes \(field) no more")
            }
        }
    }

    /// The finder tells writes from reads: the test above can fail.
    @Test(arguments: [
        ("parked.append(message)", ["parked"]), ("self.parked.entries[3]!.count += 1", ["parked"]),
        ("now = later", ["now"]), ("if now == later { return }", []),
        ("swap(&parked, &other)", ["parked"]),
        ("let parked = other.parked", []), ("parked.count(of: key)", []),
        ("other.parked = nil", []),
        ("if parked.append(x) { now = y }", ["parked", "now"]),
        ("parked.removeAll { $0.isOld }", ["parked"]),
        ("for parked in all { parked.count(x) }", []), ("counts[parked.place] = 3", []),
        ("parked[place].window &-= 1", ["parked"]), ("now <= later", []),
    ])
    func `writes are told from reads`(code: String, expected: [String]) {
        let finder = WriteFinder(fields: ["parked", "now"], changes: ["append", "removeAll"])
        #expect(finder.writes(in: code) == expected)
    }
}

/// Finds where a line of code changes one of some variables: by an assignment, by a function that
/// changes it, or by handing it over.
private struct WriteFinder {
    let fields: Set<String>
    let changes: Set<String>

    func writes(in code: String) -> [String] {
        let text = Array(code)
        var found: [String] = []
        var at = 0
        while at < text.count {
            guard text[at].isLetter || text[at] == "_" else {
                at += 1
                continue
            }
            let start = at
            while at < text.count, isWord(text[at]) { at += 1 }
            let word = String(text[start..<at])
            if fields.contains(word), isOwn(text, start), isWritten(text, start, at) {
                found.append(word)
            }
        }
        return found
    }

    private func isWord(_ character: Character) -> Bool {
        character.isLetter || character.isNumber || character == "_"
    }

    /// The variable of the node, and not another's of this name, nor a new one.
    private func isOwn(_ text: [Character], _ start: Int) -> Bool {
        var before = String(text[..<start])
        if before.hasSuffix("self.") { before.removeLast(5) }
        if before.last == "." { return false }
        return !["let ", "var ", "for ", "func "].contains { before.hasSuffix($0) }
    }

    private func isWritten(_ text: [Character], _ start: Int, _ end: Int) -> Bool {
        let before = String(text[..<start])
        if before.hasSuffix("&") || before.hasSuffix("&self.") { return true }
        var at = end
        var name = ""
        chain: while at < text.count {
            switch text[at] {
            case "!", "?":
                at += 1
            case "[":
                var depth = 0
                repeat {
                    if text[at] == "[" { depth += 1 }
                    if text[at] == "]" { depth -= 1 }
                    at += 1
                } while at < text.count && depth > 0
            case ".":
                at += 1
                let first = at
                while at < text.count, isWord(text[at]) { at += 1 }
                name = String(text[first..<at])
            default:
                break chain
            }
        }
        let rest = String(text[at...]).drop { $0 == " " }
        if !name.isEmpty, rest.hasPrefix("(") || rest.hasPrefix("{"), changes.contains(name) {
            return true
        }
        if rest.hasPrefix("==") { return false }
        return ["=", "+=", "-=", "*=", "|=", "^=", "&=", "&+=", "&-="].contains {
            rest.hasPrefix($0)
        }
    }
}
