internal import System
internal import Wire

/// Why a worker, or the signer, is not to be used any longer. Whatever it is, the process is killed and replaced.
enum WorkerFault: Error {
    /// It has stopped reading.
    case unresponsive
    /// It has closed a channel.
    case gone
    /// It sent what the protocol does not permit.
    case brokeProtocol(String)
    /// What it was to be told fits into no message. No fault of its own: it is told nothing, and goes on.
    case unsendable(WireError)
    case system(SystemError)

    var description: String {
        switch self {
        case .unresponsive: "it has stopped reading"
        case .gone: "it has closed its channel"
        case .brokeProtocol(let what): "it broke the protocol: \(what)"
        case .unsendable(let error): "what it was to be told fits into no message: \(error.description)"
        case .system(let error): error.description
        }
    }

    /// Runs what fails as a system call does.
    static func system<Value>(_ body: () throws(SystemError) -> Value) throws(WorkerFault) -> Value {
        do {
            return try body()
        } catch {
            throw .system(error)
        }
    }

    /// Runs what reads a message.
    static func reading<Value>(_ body: () throws(WireError) -> Value) throws(WorkerFault) -> Value {
        do {
            return try body()
        } catch {
            throw .brokeProtocol(error.description)
        }
    }

    /// Runs what writes a message.
    static func writing<Value>(_ body: () throws(WireError) -> Value) throws(WorkerFault) -> Value {
        do {
            return try body()
        } catch {
            throw .unsendable(error)
        }
    }
}
