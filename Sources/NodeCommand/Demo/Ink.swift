/// The meaning of a piece of text; how that looks is the terminal's theme's own choice.
///
/// Where two meet in one cell of a drawing, the later case wins.
enum Ink: UInt8, Comparable {
    case plain
    case faint
    case link
    case ring
    case dying
    case way
    case node
    case good
    case bad
    case strong

    static func < (left: Ink, right: Ink) -> Bool { left.rawValue < right.rawValue }

    /// Parameters of ANSI's "select graphic rendition"; empty for plain text.
    func parameters(hasColours: Bool) -> String {
        guard hasColours else {
            // NO_COLOR is about colours, not about weight.
            switch self {
            case .faint, .link, .dying: return "2"
            case .strong, .node, .way, .bad: return "1"
            case .plain, .ring, .good: return ""
            }
        }
        switch self {
        case .plain: return ""
        case .faint, .link: return "90"
        case .ring: return "34"
        case .dying: return "2;31"
        case .way: return "1;33"
        case .node: return "1;36"
        case .good: return "32"
        case .bad: return "1;31"
        case .strong: return "1"
        }
    }
}

/// A line of the picture: pieces of text, each character one column wide.
struct InkLine: Equatable {
    struct Piece: Equatable {
        var text: String
        var ink: Ink
    }
    private(set) var pieces: [Piece] = []
    private(set) var width = 0

    init() {}

    init(_ text: String, _ ink: Ink = .plain) {
        add(text, ink)
    }

    mutating func add(_ text: String, _ ink: Ink = .plain) {
        guard !text.isEmpty else { return }
        width += text.count
        if let last = pieces.indices.last, pieces[last].ink == ink {
            pieces[last].text += text
        } else {
            pieces.append(Piece(text: text, ink: ink))
        }
    }

    mutating func add(_ line: InkLine) {
        for piece in line.pieces { add(piece.text, piece.ink) }
    }

    /// Fills up with spaces.
    mutating func pad(to width: Int) {
        add(String(repeating: " ", count: max(0, width - self.width)))
    }

    /// The line without what is beyond this many columns.
    func cut(to width: Int) -> InkLine {
        guard self.width > width else { return self }
        var line = InkLine()
        for piece in pieces {
            line.add(String(piece.text.prefix(width - line.width)), piece.ink)
            if line.width == width { break }
        }
        return line
    }

    var text: String { pieces.map(\.text).joined() }

    func escaped(hasColours: Bool) -> String {
        pieces.map { piece in
            let parameters = piece.ink.parameters(hasColours: hasColours)
            return parameters.isEmpty ? piece.text : "\u{1B}[\(parameters)m\(piece.text)\u{1B}[m"
        }.joined()
    }
}
