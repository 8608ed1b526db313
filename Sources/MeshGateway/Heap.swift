/// Elements of which the first one is at hand. Adding one and removing the first are O(log n).
struct Heap<Element: Comparable> {
    /// None stands before its parent, which is at half its place.
    private var elements: [Element] = []

    var count: Int { elements.count }
    var first: Element? { elements.first }

    mutating func insert(_ element: Element) {
        var place = elements.count
        elements.append(element)
        while place > 0, elements[place] < elements[(place - 1) / 2] {
            elements.swapAt(place, (place - 1) / 2)
            place = (place - 1) / 2
        }
    }

    /// There must be one.
    mutating func removeFirst() -> Element {
        elements.swapAt(0, elements.count - 1)
        let first = elements.removeLast()
        var place = 0
        while true {
            var least = place
            for child in [2 * place + 1, 2 * place + 2]
            where child < elements.count && elements[child] < elements[least] {
                least = child
            }
            if least == place { return first }
            elements.swapAt(place, least)
            place = least
        }
    }

    /// Takes out all of which `isWanted` says no.
    mutating func keep(_ isWanted: (Element) -> Bool) {
        // A list in order is a heap.
        elements = elements.filter(isWanted).sorted()
    }
}
