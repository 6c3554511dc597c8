import TestSupport
import Testing

/// The program runs by itself, as it counts its descriptors and has the same hashes each time.
@Suite("The broker in made-up worlds")
struct SimulationTests {
    @Test("breaks no rule in the first 300 seeds")
    func seeds() throws {
        let run = try Command([Product.path("Simulation"), "--seeds", "1", "300"])
        #expect(run.status == 0, "\(run.text)")
    }

    @Test("has the same course each time", arguments: 1...10)
    func replay(seed: Int) throws {
        let arguments = [Product.path("Simulation"), "--seed", "\(seed)", "--trace"]
        let first = try Command(arguments), second = try Command(arguments)
        #expect(first.text.contains("SIGTERM") && first.text == second.text)
    }
}
