import Testing

@testable import MeshCore

@Suite struct FIFOTests {
    @Test func `a queue gives its elements in the order in which they came`() {
        var queue = FIFO<Int>()
        var model: [Int] = []
        var random = RandomSource(seed: 3)
        for number in 0..<20_000 {
            switch random.next(below: 8) {
            case 0..<4:
                queue.append(number)
                model.append(number)
            case 4..<7:
                #expect(queue.popFirst() == (model.isEmpty ? nil : model.removeFirst()))
            default:
                queue.removeAll { $0 % 5 == 0 }
                model.removeAll { $0 % 5 == 0 }
            }
            #expect(queue.count == model.count && queue.isEmpty == model.isEmpty)
            #expect(queue.first == model.first)
        }
        #expect(queue.waiting == model)
    }
}
