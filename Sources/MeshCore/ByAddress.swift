/// A field that makes a large value which cannot be copied pass by its address.
///
/// The compiler (Swift 6.3.1) knows the layout of such a value and takes it for one that it may load:
/// each call of a function that only reads it, from one that changes it, first moves all its bytes
/// to the stack. For `Node` these are two thousand, of 31 cache lines, several times an event. A
/// value with an existential inside can only be named by its address, and no byte is moved. The
/// field holds nothing and is never looked at.
struct ByAddress {
    private var nothing: (any Sendable)?

    init() {}
}
