import JSON5
import Testing

@Suite struct DecimalTests {
    @Test func `decimals are rounded and have no trailing zeros`() {
        #expect(decimal(1.5) == "1.5")
        #expect(decimal(0.0004) == "0")
        #expect(decimal(-0.0004) == "0")
        #expect(decimal(-2.0005, places: 3) == "-2.001")
        #expect(decimal(1234567.125, places: 2) == "1234567.13")
    }

    @Test func `a value without a JSON number is written as zero`() {
        #expect(decimal(.nan) == "0")
        #expect(decimal(.infinity) == "0")
    }
}
