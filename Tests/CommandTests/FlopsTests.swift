import Foundation
import Testing

@Suite(.enabled(if: program != nil, programMissing)) struct FlopsTests {
  private struct Row: Decodable { let network: String, parameters: Int, flops: Int }
  private struct Golden: Decodable { let parameters: Int, flops: Int? }

  @Test func `Every network counts as the reference's counter counts it`() throws {
    let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    let golden = try JSONDecoder().decode(
      [String: Golden].self, from: Data(contentsOf: folder.appending(path: "Fixtures/zoo/structure.json")))
    let run = try insightface("flops", "--json")
    #expect(run.status == 0 && run.errors.isEmpty)
    let rows = try JSONDecoder().decode([Row].self, from: Data(run.output.utf8))
    var compared = 0
    for row in rows {
      guard let expected = golden[row.network] else { continue }
      #expect(row.parameters == expected.parameters && row.flops == expected.flops, "\(row)")
      compared += 1
    }
    #expect(compared == 30)
  }

  @Test func `One network is a line of the table`() throws {
    let run = try insightface("flops", "--network", "y1")
    #expect(run.output.split(separator: "\n").last.map(String.init) == "y1          1003264   439.8M")
    let wrong = try insightface("flops", "--network", "r500")
    #expect(wrong.status == 64 && wrong.errors.contains("Did you mean 'r50'"), "\(wrong)")
    let small = try insightface("flops", "--network", "y1", "--image-size", "48")
    #expect(small.status == 1 && small.errors.contains("conv_6dw7_7"), "\(small)")
  }
}
