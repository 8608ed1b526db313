import Glibc

/// The terminal of the live view: its other screen, without cursor and echo, until `leave`.
///
/// A frame is one write that holds only the lines that have changed, so nothing flickers.
struct Terminal: ~Copyable {
    private let hasColours: Bool
    private var formerInput: termios?
    private(set) var isEntered = false
    /// The lines that stand on the screen.
    private var shown: [InkLine] = []
    private var shownSize = (columns: 0, rows: 0)

    /// Nil when standard output is no terminal that understands escape sequences.
    init?() {
        guard isatty(STDOUT_FILENO) == 1, Self.environment("TERM") != "dumb" else { return nil }
        // no-color.org: present and not empty.
        hasColours = Self.environment("NO_COLOR").isEmpty
    }

    private static func environment(_ name: String) -> String {
        guard let value = unsafe getenv(name) else { return "" }
        return unsafe String(cString: value)
    }

    /// Columns and rows; 80 × 24 when the terminal does not tell.
    static var size: (columns: Int, rows: Int) {
        var size = winsize()
        let result = unsafe ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size)
        guard result == 0, size.ws_col > 0, size.ws_row > 0 else { return (80, 24) }
        return (Int(size.ws_col), Int(size.ws_row))
    }

    mutating func enter() {
        isEntered = true
        shown = []
        shownSize = (0, 0)
        // Keys that somebody presses must not stand in the picture. Only the process in front may
        // set this; another one would be stopped for it.
        var input = termios()
        if isatty(STDIN_FILENO) == 1, tcgetpgrp(STDIN_FILENO) == getpgrp(),
            unsafe tcgetattr(STDIN_FILENO, &input) == 0
        {
            formerInput = input
            input.c_lflag &= ~tcflag_t(ECHO | ICANON)
            unsafe tcsetattr(STDIN_FILENO, TCSANOW, &input)
        }
        Self.write("\u{1B}[?1049h\u{1B}[?25l\u{1B}[2J")
    }

    /// Back to the screen as it was before.
    mutating func leave() {
        guard isEntered else { return }
        isEntered = false
        Self.write("\u{1B}[?25h\u{1B}[?1049l")
        if var input = formerInput {
            // The keys that were typed are for nobody.
            unsafe tcsetattr(STDIN_FILENO, TCSAFLUSH, &input)
            formerInput = nil
        }
    }

    mutating func draw(_ lines: [InkLine], size: (columns: Int, rows: Int)) {
        var frame = ""
        if size != shownSize {
            shownSize = size
            shown = []
            frame = "\u{1B}[2J"
        }
        for row in 0..<max(lines.count, shown.count) {
            let line = row < lines.count ? lines[row] : InkLine()
            if row < shown.count, shown[row] == line { continue }
            frame += "\u{1B}[\(row + 1);1H" + line.escaped(hasColours: hasColours) + "\u{1B}[K"
        }
        shown = lines
        if !frame.isEmpty { Self.write(frame) }
    }

    /// True when a key was pressed that ends programs like this one.
    func readQuit() -> Bool {
        var keys = [UInt8](repeating: 0, count: 64)
        let count = unsafe keys.withUnsafeMutableBytes { buffer in
            unsafe read(STDIN_FILENO, buffer.baseAddress, buffer.count)
        }
        return keys.prefix(max(count, 0)).contains(UInt8(ascii: "q"))
    }

    /// True while keys come one by one, not line by line.
    var hasKeys: Bool { formerInput != nil }

    /// To standard output, all at once; an output that is gone is nobody's loss.
    static func write(_ text: String) {
        var text = text
        text.withUTF8 { bytes in
            var sent = 0
            while sent < bytes.count {
                let count = unsafe Glibc.write(
                    STDOUT_FILENO, bytes.baseAddress! + sent, bytes.count - sent)
                if count < 0, errno == EINTR { continue }
                if count <= 0 { return }
                sent += count
            }
        }
    }
}
