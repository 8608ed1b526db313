import Foundation
import Testing

/// The modules that each may see of the others: the order of the path of a byte (Package.swift).
private let mayImport: [String: Set<String>] = [
    "JSON5": [],
    "MeshWire": [],
    "MeshCore": ["MeshWire"],
    "MeshGateway": ["MeshWire", "MeshCore"],
    "MeshSimulation": ["JSON5", "MeshWire", "MeshCore", "MeshGateway", "MeshServer"],
    "MeshServer": ["MeshWire", "MeshCore", "MeshGateway"],
    "MeshDriver": ["MeshWire", "MeshCore", "MeshGateway", "MeshServer"],
    // No reply, no command and no session: not MeshGateway.
    "MeshTransport": ["CLinux", "MeshWire", "MeshCore", "MeshServer"],
    "Smallworld": ["MeshTransport", "MeshServer", "MeshGateway", "MeshCore", "MeshWire"],
]

/// These import nothing besides, not even what comes with the toolchain.
private let pureModules = [
    "JSON5", "MeshWire", "MeshCore", "MeshGateway", "MeshServer", "MeshDriver", "MeshSimulation",
]

/// The compiler lets any file import Glibc and ask the clock; these tests do not.
@Suite struct `Pure modules` {
    private func imports(_ file: SourceFile) -> [(module: String, place: String)] {
        file.code.indices.compactMap { index in
            let words = file.code[index].split(separator: " ")
            guard let keyword = words.firstIndex(of: "import"), keyword + 1 < words.count,
                words[..<keyword].allSatisfy({
                    $0.hasPrefix("@") || ["public", "internal", "private"].contains($0)
                })
            else { return nil }
            return (String(words[keyword + 1]), file.place(index))
        }
    }

    @Test(arguments: pureModules)
    func `import only what they may`(module: String) throws {
        let allowed = mayImport[module]!
        let files = try Repository.swiftFiles(ofModule: module)
        #expect(!files.isEmpty)
        for file in files {
            for (imported, place) in imports(file) {
                #expect(allowed.contains(imported), "\(place)")
            }
        }
    }

    @Test(arguments: ["MeshTransport", "Smallworld"])
    func `the other modules look only upstream`(module: String) throws {
        let ours = Set(mayImport.keys).union(["CLinux", "NodeCommand", "BenchCommand"])
        for file in try Repository.swiftFiles(ofModule: module) {
            for (imported, place) in imports(file) where ours.contains(imported) {
                #expect(mayImport[module]!.contains(imported), "\(place)")
            }
        }
    }

    /// Time and randomness are given; nobody is talked to.
    @Test(arguments: pureModules)
    func `have no clock, no chance and no voice of their own`(module: String) throws {
        let forbidden = [
            #"\b(ContinuousClock|SuspendingClock|DispatchTime|Date|Task)\s*[.(]"#,
            #"\b(clock_gettime|gettimeofday|time|sleep|usleep|getenv)\s*\("#,
            #"\.(random|randomElement|shuffle|shuffled)\s*\("#,
            #"\bSystemRandomNumberGenerator\b"#,
            #"\b(Hasher\s*\(|hashValue\b)"#,
            #"\b(print|debugPrint|dump|readLine|fputs|NSLog)\s*\("#,
            #"\b(Thread|Mutex|Atomic|DispatchQueue)\b"#,
        ]
        let pattern = try Regex(forbidden.joined(separator: "|"))
        for file in try Repository.swiftFiles(ofModule: module) {
            let places = file.places { $0.contains(pattern) }
            #expect(places.isEmpty, "\(places.joined(separator: "\n"))")
        }
    }

    /// The order of a `Set` or a `Dictionary` differs from run to run. Found are loops over names
    /// that are declared as one, see `HashOrder`. A line that sorts is fine; so is one whose
    /// comment says `any order`, and why.
    @Test(arguments: pureModules)
    func `do not depend on the order of hashes`(module: String) throws {
        let order = HashOrder(try Repository.swiftFiles(ofModule: module))
        let places = order.dependences()
        #expect(places.isEmpty, "\(places.joined(separator: "\n"))")
    }

    /// The check above must be able to fail.
    @Test(arguments: [
        "for key in kept { send(key) }", "let first = self.kept.first",
        "for (key, value) in node.shared where value { send(key) }",
        "let all = shared.map { $0.key }", "shared.forEach { send($0.key) }",
    ])
    func `an order of hashes is found`(line: String) {
        let declaring = SourceFile(
            path: "A.swift",
            text: """
                struct A {
                    private var kept: Set<Int> = []
                    var shared: [Key: Bool] = [:]
                    func f() {
                        \(line)
                    }
                    func g(shared: [Int]) {
                        for key in shared { send(key) }
                        for key in kept.sorted() { send(key) }
                        let shared = [1]
                    }
                }
                """)
        #expect(HashOrder([declaring]).dependences() == ["A.swift:5: \(line)"])
        let elsewhere = SourceFile(
            path: "B.swift", text: "func h() {\n    for key in a.shared { send(key) }\n}")
        #expect(HashOrder([declaring, elsewhere]).dependences().count == 2)
    }
}
