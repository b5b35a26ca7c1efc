import Testing

@testable import Formats

@Suite struct NumPyArrayTests {
  @Test func matricesAreWrittenAsNumPyReadsThem() throws {
    let folder = TemporaryFolder()
    let path = folder.file("matrix.npy")
    try NumPyArray.write([[1, -2.5, 3], [4, 5, 6.25]], to: path)
    let file = try MappedFile(path: path)
    let bytes = file.withBytes { Array($0) }
    let length = Int(bytes[8]) | Int(bytes[9]) << 8
    #expect(Array(bytes[..<8]) == [0x93] + Array("NUMPY".utf8) + [1, 0])
    #expect((10 + length) % 64 == 0 && bytes[9 + length] == UInt8(ascii: "\n"))
    let header = String(decoding: bytes[10..<10 + length], as: UTF8.self)
    #expect(header.contains("'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), "))
    let values = bytes[(10 + length)...].withUnsafeBytes { Array($0.bindMemory(to: Float.self)) }
    #expect(values == [1, -2.5, 3, 4, 5, 6.25])
    #expect(throws: FormatError.self) { try NumPyArray.write([[1], [1, 2]], to: path) }
  }
}
