package import Handshake
internal import Policy

/// A file is invalid. Has the position and the remedy. The whole file is refused, because a partially applied
/// configuration could be weaker than written.
///
/// The texts contain names of sections and keys, but no values, which can be PINs or keys.
package struct SettingsError: Error, Equatable, Sendable {
    /// File name for messages.
    package let file: String
    /// Counted from 1.
    package let line: Int
    /// Counted from 1, in bytes.
    package let column: Int
    package let problem: Problem

    /// The problem, by type of text.
    package enum Problem: Equatable, Sendable {
        case syntax(INIProblem)
        case value(key: String, INIValueProblem)
        case keyURLScheme(key: String)
        case urlAsFile(key: String)
        /// `isQuoted`: the value begins with a quotation mark.
        case relativePath(key: String, isQuoted: Bool)
        case psk(PSKFileProblem)
        case profile(ProfileProblem)
        case rule(RuleProblem)
        case yaml(YAMLProblem)
        case tag(TagProblem)
        case namespaceName
        case isolation(key: String)
        case unknown(UnknownName)
    }

    package init(file: String, line: Int, column: Int, problem: Problem) {
        self.file = file
        self.line = line
        self.column = column
        self.problem = problem
    }

    /// Description of the problem.
    package var what: String {
        switch problem {
        case .syntax(let problem): problem.what
        case .value(let key, let problem): "the value of \(key) \(problem.what)"
        case .keyURLScheme(let key):
            "the value of \(key) is a URL whose scheme is none of \(KeyURL.schemes.joined(separator: ", "))"
        case .urlAsFile(let key):
            "the value of \(key) is a URL, but only certificates of our own and private keys can be named by one"
        case .relativePath(let key, isQuoted: true):
            "the value of \(key) begins with a quotation mark, which is part of the value"
        case .relativePath(let key, isQuoted: false):
            "the value of \(key) is a relative path, whose file would depend on the folder in which tlshd was started"
        case .psk(let problem): problem.what
        case .profile(let problem): problem.what
        case .rule(let problem): problem.what
        case .yaml(let problem): problem.what
        case .tag(let problem): problem.what
        case .namespaceName: "an item of the list is not the name of a network namespace"
        case .isolation(let key): "the value of \(key) is not a level of isolation"
        case .unknown(let name): name.what
        }
    }

    /// Action for the operator.
    package var remedy: String {
        switch problem {
        case .syntax(let problem): problem.remedy
        case .value(_, let problem): problem.remedy
        case .keyURLScheme: "write the whole path, which begins with /, if it is a file"
        case .urlAsFile: "write the path of a file"
        case .relativePath(_, isQuoted: true): "write the path without quotation marks"
        case .relativePath(_, isQuoted: false): "write the whole path, which begins with /"
        case .psk(let problem): problem.remedy
        case .profile(let problem): problem.remedy
        case .rule(let problem): problem.remedy
        case .yaml(let problem): problem.remedy
        case .tag(let problem): problem.remedy
        case .namespaceName: "write names in /run/netns or absolute paths, separated by ;"
        case .isolation: "write \(Isolation.allCases.map(\.rawValue).joined(separator: ", "))"
        case .unknown(let name): name.remedy
        }
    }
}

extension SettingsError: CustomStringConvertible {
    /// `file:line:column: what; remedy`, one line.
    package var description: String { parts.description }

    package var parts: TextError { TextError("\(file):\(line):\(column): \(what)", remedy: remedy, joint: "; ") }
}

/// A line is neither section, key nor comment.
package enum INIProblem: Equatable, Sendable {
    case keyBeforeSection
    case missingEquals
    case emptyKey
    case bracketInKey
    case unclosedSection
    case textAfterSection
    case sectionName

    package var what: String {
        switch self {
        case .keyBeforeSection: "a key comes before the first [section]"
        case .missingEquals: "the line is neither a comment nor a [section] nor key=value"
        case .emptyKey: "there is no key before the equals sign"
        case .bracketInKey: "there is a bracket in the key's name"
        case .unclosedSection: "the ] of the section is missing"
        case .textAfterSection: "there is text after the section's ]"
        case .sectionName: "the section's name is empty, or contains a [ or a control character"
        }
    }

    package var remedy: String {
        switch self {
        case .keyBeforeSection: "put a line such as [debug] or [authenticate.client] before it"
        case .missingEquals: "write key=value on one line, or begin the line with #"
        case .emptyKey: "name the key, or begin the line with #"
        case .bracketInKey: "put [section] and key=value on lines of their own"
        case .unclosedSection: "end the line with ]"
        case .textAfterSection: "put a comment on a line of its own, which begins with #"
        case .sectionName: "write a name such as [debug] or [authenticate.client]"
        }
    }
}

/// A notice about a file. The daemon runs, but the administrator should read it.
package struct SettingsNotice: Equatable, Sendable, CustomStringConvertible {
    package let file: String
    /// Counted from 1.
    package let line: Int
    private let content: TextError

    package init(file: String, line: Int, _ text: String, remedy: String? = nil) {
        self.file = file
        self.line = line
        content = TextError(text, remedy: remedy, joint: "; ")
    }

    /// Problem and remedy, without the place.
    package var text: String { content.description }

    /// `file:line: text`, one line.
    package var description: String { parts.description }

    package var parts: TextError { content.introduced(by: "\(file):\(line): ") }
}

/// Formats text from a file or command line for a log line: in single quotes, control characters and quotes as `\u{…}`,
/// truncated after 64 characters, so that input can neither forge nor flood a line.
func quoted(_ text: String) -> String {
    var result = "'"
    for (index, scalar) in text.unicodeScalars.enumerated() {
        guard index < 64 else {
            result += "…"
            break
        }
        if isPlain(scalar) {
            result.unicodeScalars.append(scalar)
        } else {
            result += "\\u{\(String(scalar.value, radix: 16))}"
        }
    }
    return result + "'"
}

private func isPlain(_ scalar: Unicode.Scalar) -> Bool {
    guard scalar != "'", scalar != "\\" else { return false }
    return !scalar.isControlling && scalar.properties.generalCategory != .unassigned
}
