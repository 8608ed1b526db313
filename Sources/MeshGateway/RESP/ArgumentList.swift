import MeshWire

/// The arguments of one command, as slices relative to the command's first byte.
///
/// Reused from command to command: a command costs no allocation.
typealias ArgumentList = Slab<Slice>
