internal import Handshake

/// What an event of the poller is about, packed into the number that the poller carries.
enum Token: Equatable {
    case signals
    case namespaces
    case succession
    case upcall(Int)
    case control(WorkerID)
    case keys(WorkerID)
    case child(WorkerID)
    case signer(Int)
    case signerChild(Int)
    /// The socket that tlshctl connects to, and a connection of it.
    case controlSocket
    case controlClient(Int)

    private static let shift: UInt64 = 56

    init?(_ packed: UInt64) {
        let number = Int(truncatingIfNeeded: packed & ((1 << Self.shift) - 1))
        switch packed >> Self.shift {
        case 1: self = .signals
        case 6: self = .namespaces
        case 7: self = .succession
        case 2: self = .upcall(number)
        case 3: self = .control(WorkerID(number))
        case 4: self = .keys(WorkerID(number))
        case 5: self = .child(WorkerID(number))
        case 8: self = .signer(number)
        case 9: self = .signerChild(number)
        case 20: self = .controlSocket
        case 21: self = .controlClient(number)
        default: return nil
        }
    }

    var packed: UInt64 {
        switch self {
        case .signals: 1 << Self.shift
        case .namespaces: 6 << Self.shift
        case .succession: 7 << Self.shift
        case .upcall(let index): 2 << Self.shift | UInt64(index)
        case .control(let worker): 3 << Self.shift | UInt64(worker.number)
        case .keys(let worker): 4 << Self.shift | UInt64(worker.number)
        case .controlSocket: 20 << Self.shift
        case .controlClient(let number): 21 << Self.shift | UInt64(number)
        case .child(let worker): 5 << Self.shift | UInt64(worker.number)
        case .signer(let number): 8 << Self.shift | UInt64(number)
        case .signerChild(let number): 9 << Self.shift | UInt64(number)
        }
    }
}
