/// Elements in an order that the caller knows, in chunks: finding, adding and removing one takes a search
/// and the move of a chunk, however many there are.
struct OrderedList<Element> {
    /// Where an element is, or would be. It holds until the list changes.
    struct Position: Equatable {
        fileprivate var chunk: Int
        fileprivate var offset: Int
    }

    /// None is empty.
    private var chunks: [[Element]] = []
    private(set) var count = 0
    private static var chunkMax: Int { 512 }

    var isEmpty: Bool { count == 0 }

    /// The position behind all elements of which `isBefore` says yes: it must say so of the first ones.
    func position(behind isBefore: (Element) -> Bool) -> Position {
        var (low, high) = (0, chunks.count)
        while low < high {
            let middle = (low + high) / 2
            if isBefore(chunks[middle][chunks[middle].count - 1]) {
                low = middle + 1
            } else {
                high = middle
            }
        }
        guard low < chunks.count else { return Position(chunk: low, offset: 0) }
        var (first, end) = (0, chunks[low].count)
        while first < end {
            let middle = (first + end) / 2
            if isBefore(chunks[low][middle]) { first = middle + 1 } else { end = middle }
        }
        return Position(chunk: low, offset: first)
    }

    /// The element there; nil: it is the end.
    subscript(position: Position) -> Element? {
        guard position.chunk < chunks.count else { return nil }
        return chunks[position.chunk][position.offset]
    }

    /// The one before; nil: there is none.
    func element(before position: Position) -> Element? {
        if position.offset > 0 { return chunks[position.chunk][position.offset - 1] }
        return position.chunk > 0 ? chunks[position.chunk - 1].last : nil
    }

    func position(after position: Position) -> Position {
        let next = position.offset + 1
        return next < chunks[position.chunk].count
            ? Position(chunk: position.chunk, offset: next)
            : Position(chunk: position.chunk + 1, offset: 0)
    }

    mutating func insert(_ element: Element, at position: Position) {
        count += 1
        // The end belongs to the last chunk, so that a list that grows at its end fills its chunks.
        var position = position
        if position.chunk == chunks.count {
            guard let last = chunks.last else {
                chunks.append([element])
                return
            }
            position = Position(chunk: chunks.count - 1, offset: last.count)
        }
        chunks[position.chunk].insert(element, at: position.offset)
        guard chunks[position.chunk].count > Self.chunkMax else { return }
        let upper = Array(chunks[position.chunk][(Self.chunkMax / 2)...])
        chunks[position.chunk].removeSubrange((Self.chunkMax / 2)...)
        chunks.insert(upper, at: position.chunk + 1)
    }

    /// Takes the element there out.
    ///
    /// - Returns: the position of the one behind it.
    @discardableResult
    mutating func remove(at position: Position) -> Position {
        count -= 1
        chunks[position.chunk].remove(at: position.offset)
        if chunks[position.chunk].isEmpty {
            chunks.remove(at: position.chunk)
            return Position(chunk: position.chunk, offset: 0)
        }
        return position.offset < chunks[position.chunk].count
            ? position : Position(chunk: position.chunk + 1, offset: 0)
    }
}
