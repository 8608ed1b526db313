/// A drawing of dots, two by four in each cell of the terminal, with characters on top.
///
/// Dots are about as wide as high, so that circles are round. A cell of a terminal has one colour:
/// it shows what has the highest ink of all that was drawn in it, and nothing else.
struct BrailleCanvas {
    /// In cells.
    let width: Int
    let height: Int
    private var dots: [UInt8]
    private var inks: [Ink]
    private var characters: [Character?]

    /// The bit of a dot in Unicode's braille patterns, by column and row within its cell.
    private static let bits: [[UInt8]] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]]

    init(width: Int, height: Int) {
        self.width = max(width, 1)
        self.height = max(height, 1)
        dots = [UInt8](repeating: 0, count: self.width * self.height)
        inks = [Ink](repeating: .plain, count: self.width * self.height)
        characters = [Character?](repeating: nil, count: self.width * self.height)
    }

    /// A dot at x from the left and y from the top, in dots; outside of the canvas: nothing.
    mutating func dot(_ x: Double, _ y: Double, _ ink: Ink) {
        let column = Int(x.rounded(.down))
        let row = Int(y.rounded(.down))
        guard column >= 0, row >= 0, column < width * 2, row < height * 4 else { return }
        let cell = row / 4 * width + column / 2
        guard ink >= inks[cell] else { return }
        if ink > inks[cell] { dots[cell] = 0 }
        dots[cell] |= Self.bits[column % 2][row % 4]
        inks[cell] = ink
    }

    /// - Parameter gap: every so many dots one is drawn; 1 is a whole line.
    mutating func line(
        _ from: (x: Double, y: Double), _ to: (x: Double, y: Double), _ ink: Ink, gap: Int = 1
    ) {
        let steps = max(Int(max(abs(to.x - from.x), abs(to.y - from.y)).rounded(.up)), 1)
        for step in stride(from: 0, through: steps, by: max(gap, 1)) {
            let share = Double(step) / Double(steps)
            dot(from.x + (to.x - from.x) * share, from.y + (to.y - from.y) * share, ink)
        }
    }

    /// Characters beside each other; outside of the canvas they are left out.
    mutating func write(_ text: String, column: Int, row: Int, _ ink: Ink) {
        guard row >= 0, row < height else { return }
        for (offset, character) in text.enumerated() {
            let place = column + offset
            guard place >= 0, place < width else { continue }
            characters[row * width + place] = character
            inks[row * width + place] = ink
        }
    }

    /// From top to bottom, each as wide as the canvas.
    var lines: [InkLine] {
        (0..<height).map { row in
            var line = InkLine()
            for cell in (row * width)..<((row + 1) * width) {
                if let character = characters[cell] {
                    line.add(String(character), inks[cell])
                } else if dots[cell] != 0, let scalar = Unicode.Scalar(0x2800 + Int(dots[cell])) {
                    line.add(String(Character(scalar)), inks[cell])
                } else {
                    line.add(" ")
                }
            }
            return line
        }
    }
}
