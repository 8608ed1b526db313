import MeshWire

/// The arguments of one command, as slices relative to the command's first byte.
///
/// Reused from command to command: a command costs no allocation.
typealias ArgumentList = Slab<Slice>

/// The command at hand, from `Gateway.next` until it has been carried out.
struct CommandArguments: ~Copyable {
    /// Relative to `base`.
    var list = ArgumentList()
    /// Where the slices of `list` count from in the driver's input, or in the decoded line.
    var base = 0
    /// The command is a decoded line: its arguments do not lie in the driver's input.
    var isDecoded = false
    /// The last inline command without its quotes and escapes.
    var line: [UInt8] = []
    /// Where the command starts in the driver's input, and its bytes there.
    var start = 0
    var size = 0

    /// The command's name is the first of them.
    var count: Int {
        @inline(__always) get { list.count }
    }

    /// An argument as a slice of the driver's input, or of the decoded line.
    subscript(index: Int) -> Slice {
        @inline(__always) get {
            let slice = list[index]
            return Slice(start: base + Int(slice.start), count: Int(slice.count))
        }
    }
}
