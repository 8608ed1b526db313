import MeshCore
import Testing

@testable import MeshGateway

/// An ordered list beside an array that is sorted anew.
@Suite struct OrderedListTests {
    @Test(arguments: [10, 1_000, 20_000])
    func `it has what an array has, in order`(range: Int) {
        var random = RandomSource(seed: UInt64(range))
        var list = OrderedList<Int>()
        var model: [Int] = []
        for step in 0..<6_000 {
            let value = random.next(below: range)
            let position = list.position { $0 < value }
            let place = model.firstIndex { $0 >= value } ?? model.count
            #expect(list[position] == (place < model.count ? model[place] : nil))
            #expect(list.element(before: position) == (place > 0 ? model[place - 1] : nil))
            if list[position] == value, random.next(below: 2) == 0 {
                let next = list.remove(at: position)
                model.remove(at: place)
                #expect(list[next] == (place < model.count ? model[place] : nil))
            } else if list[position] != value {
                list.insert(value, at: position)
                model.insert(value, at: place)
            }
            #expect(list.count == model.count)
            if step % 500 == 0 { #expect(elements(of: list) == model) }
        }
        #expect(elements(of: list) == model)
        for value in model { list.remove(at: list.position { $0 < value }) }
        #expect(list.isEmpty && elements(of: list).isEmpty)
    }

    private func elements(of list: OrderedList<Int>) -> [Int] {
        var found: [Int] = []
        var position = list.position { _ in false }
        while let element = list[position] {
            found.append(element)
            position = list.position(after: position)
        }
        return found
    }
}
