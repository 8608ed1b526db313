/// Finds code whose effect depends on the order of a `Set` or a `Dictionary`, as far as lines tell.
///
/// Considered are names declared with such a type: local ones up to the end of their block, members
/// in their own file, and behind a dot in the whole module unless they are private. A parameter or
/// variable of the same name in the function hides a member.
struct HashOrder {
    private let files: [SourceFile]
    /// Members that other files of the module may reach.
    private var shared: Set<String> = []
    /// All names of each file that are declared so, members or not.
    private var declared: [String: Set<String>] = [:]
    private let memberIndentation = 4

    init(_ files: [SourceFile]) {
        self.files = files
        for file in files {
            for line in file.code {
                guard let name = declaredName(line) else { continue }
                declared[file.path, default: []].insert(name)
                if indentation(line) == memberIndentation, !line.contains("private") {
                    shared.insert(name)
                }
            }
        }
    }

    /// Where an order reaches something that does not sort it.
    func dependences() -> [String] {
        files.flatMap { file in
            let names = shared.union(declared[file.path] ?? [])
            return file.code.indices
                .filter { isDependent(file, $0, names) }
                .map(file.place)
        }
    }

    /// The name that a line declares as a set or a dictionary.
    private func declaredName(_ line: String) -> String? {
        guard line.contains("Set<") || line.contains(": [") else { return nil }
        let declaration =
            /\b(?:var|let)\s+(\w+)\s*(?::\s*(?:\[[^\[\]():]*:\s.*\]|Set<.*>)|=\s*Set<)/
        return line.firstMatch(of: declaration).map { String($0.1) }
    }

    private func isDependent(_ file: SourceFile, _ index: Int, _ names: Set<String>) -> Bool {
        let line = file.code[index]
        guard names.contains(where: line.contains), !line.contains("sorted"),
            !line.contains("removeAll")
        else { return false }
        let comments = file.lines[max(0, index - 1)...index].joined()
        if comments.contains("any order") { return false }
        return orderedNames(line).contains { use in
            names.contains(use.name) && isUnordered(use.name, hasOwner: use.hasOwner, file, index)
        }
    }

    /// Names whose elements the line visits one after the other. To look for the one entry with a
    /// value (`first { $0.value == … }`) depends on no order.
    private func orderedNames(_ line: String) -> [(name: String, hasOwner: Bool)] {
        if line.contains(".first { $0.value ==") { return [] }
        let loop = /\bin\s+((?:\w+\.)*)(\w+?)(?:\.keys|\.values)?\s*(?:\{|where\b|$)/
        let call =
            /\b((?:\w+\.)*)(\w+)\.(?:map|flatMap|compactMap|filter|reduce|forEach|enumerated|joined|popFirst|randomElement|first)\b/
        return line.matches(of: loop).map { (String($0.2), isMember(String($0.1))) }
            + line.matches(of: call).map { (String($0.2), isMember(String($0.1))) }
    }

    private func isMember(_ owner: String) -> Bool { !owner.isEmpty && owner != "self." }

    private func isUnordered(
        _ name: String, hasOwner: Bool, _ file: SourceFile, _ index: Int
    ) -> Bool {
        if hasOwner { return shared.contains(name) || isDeclaredMember(name, file) }
        // The nearest declaration before the line, inside the function that it stands in.
        for line in file.code[..<index].reversed() {
            if indentation(line) > memberIndentation, declaredName(line) == name {
                return true
            }
            if declaresOtherwise(line, name) { return false }
            if line.contains("func ") || line.contains("init(") { break }
        }
        return isDeclaredMember(name, file)
    }

    /// The line declares a parameter, a variable or a pattern of this name.
    private func declaresOtherwise(_ line: String, _ name: String) -> Bool {
        guard line.contains(name) else { return false }
        let variable = /\b(?:let|var|for)\s+\(?(?:\w+,\s*)*(\w+)/
        let parameter = /(?:[(,]\s*|^\s+)(?:\w+\s+)?(\w+):\s/
        return line.matches(of: variable).contains { $0.1 == name }
            || line.matches(of: parameter).contains { $0.1 == name }
    }

    private func isDeclaredMember(_ name: String, _ file: SourceFile) -> Bool {
        file.code.contains { line in
            indentation(line) == memberIndentation && line.contains(name)
                && declaredName(line) == name
        }
    }

    private func indentation(_ line: String) -> Int { line.prefix { $0 == " " }.count }
}
