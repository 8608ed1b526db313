/// A name that is matched with many patterns in steps, and what has been worked out about it.
public struct SearchedName {
    public let bytes: [UInt8]
    var places = BytePlaces()

    public init(_ bytes: [UInt8]) { self.bytes = bytes }
}

/// A match of one name with all patterns of a `PatternIndex`, in steps of bounded work: for names that
/// cost more than one event may.
///
/// The patterns are tried in the order of their numbers, and not by their prefixes: so it does not
/// matter which are inserted and removed between two steps. One that is inserted after the search has
/// begun is not found, one that is removed before its end is not either.
///
/// Cost: a visit for each pattern, and for each that cannot be ruled out by its length a match, which is
/// O(name × ⌈pattern / 64⌉) and can itself go in steps.
public struct PatternSearch {
    /// The place of the next entry.
    var next = 0
    /// Where the match with it has come to; nil: it has not begun. `birth` is the entry's.
    var place: Glob.Place?
    var birth: UInt64 = 0
    /// Entries that are younger are passed over.
    let birthMax: UInt64
    var found: [(id: PatternNumber, birth: UInt64)] = []

    /// The least work for one name.
    public static let unitsLeast = PatternIndex.visitUnits

    public init(of index: borrowing PatternIndex) { birthMax = index.lastBirth }
}
