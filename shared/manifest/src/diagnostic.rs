//! What is wrong with a manifest: where, why, and what to do about it.

use std::cell::RefCell;
use std::fmt;

macro_rules! rules {
    ($($(#[doc = $doc:literal])+ $rule:ident,)+) => {
        /// The rule that a manifest breaks.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Rule {
            $($(#[doc = $doc])+ $rule,)+
        }

        impl Rule {
            /// Every rule.
            pub const ALL: &[Rule] = &[$(Rule::$rule,)+];
        }
    };
}

rules! {
    /// The file is longer than 256 KiB.
    TooLong,
    /// The file is not TOML.
    Syntax,
    /// A key or table is there twice.
    Repeated,
    /// A key means nothing where it stands.
    UnknownKey,
    /// A value is of another type than its key takes.
    WrongType,
    /// A key that must be there is not.
    Missing,
    /// A text is no size.
    BadSize,
    /// A text is no time.
    BadTime,
    /// A text is no budget.
    BadBudget,
    /// A budget is nothing, or more than its period.
    BudgetRange,
    /// An image is not named `PACKAGE:BINARY`.
    BadImage,
    /// No machine has a driver of this name.
    UnknownDriver,
    /// There is no such mode of a system.
    UnknownMode,
    /// An embedded system's services have more memory than there is.
    EmbeddedTooLarge,
    /// `dma` is neither protected nor unprotected.
    UnknownDma,
    /// Two services drive one device.
    SharedDevice,
    /// A name has other characters than names have, or too many or none.
    BadName,
    /// A name belongs to the system itself.
    ReservedName,
    /// A number or size is outside of its limits.
    OutOfRange,
    /// The arguments are longer than a start block holds.
    ArgumentsTooLong,
    /// No service has this name.
    UnknownService,
    /// The named service does not serve this interface.
    UnknownInterface,
    /// No service at all serves this interface.
    NotServed,
    /// No input has this name.
    UnknownInput,
    /// There is no such right.
    UnknownRight,
    /// A client's capability to a mailbox cannot carry this right.
    RightNotCarried,
    /// A right is named twice.
    RepeatedRight,
    /// A use that can neither send nor call.
    UselessRights,
    /// The console has no such stream.
    UnknownStream,
    /// There is no such restart policy, or way to go on after the last restart.
    UnknownPolicy,
    /// Restarts are described, but the policy is to never restart.
    RestartsNever,
    /// A service uses an interface of its own.
    OwnInterface,
    /// Two capabilities of a service have one name.
    RepeatedName,
    /// A service calls one that is less urgent than itself.
    PriorityInversion,
    /// Services that call each other in a circle.
    CallCycle,
    /// The memory does not hold stack and heap.
    MemoryTooSmall,
    /// The quota of handles is less than what the service begins with.
    TooFewHandles,
    /// A service begins with more capabilities than a start block holds.
    TooManyCapabilities,
    /// `init` has more services to supervise than its start block holds.
    TooManySupervised,
    /// Two services control the same one.
    TwoControllers,
    /// A service controls itself.
    ControlsItself,
    /// Services that control each other in a circle.
    ControlCycle,
    /// The service whose end is the system's is not supervised by `init`.
    UntilControlled,
    /// There are more services than windows.
    TooManyServices,
    /// There are more threads in all than ΦCore has room for.
    TooManyThreads,
    /// There is no service.
    NoServices,
    /// No service gets an input.
    UnusedInput,
    /// The inputs' limits do not fit their window.
    InputsTooLarge,
}

/// One mistake.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnostic {
    /// Which rule is broken.
    pub rule: Rule,
    /// Line of the mistake, from 1.
    pub line: usize,
    /// Column of the mistake in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub cause: String,
    /// What to do about it.
    pub cure: String,
}

/// Every mistake of a manifest, in the order of their places. There is at least one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnostics {
    file: String,
    list: Vec<Diagnostic>,
}

impl Diagnostics {
    /// The mistakes.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.list.iter()
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Each mistake as `FILE:LINE:COLUMN: error: CAUSE`, and `help: CURE` below it.
impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, Diagnostic { line, column, cause, cure, .. }) in self.iter().enumerate() {
            let separator = if number == 0 { "" } else { "\n" };
            write!(f, "{separator}{}:{line}:{column}: error: {cause}\n  help: {cure}", self.file)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

/// A mistake by its place: the offset of a byte in the text.
struct Finding {
    place: usize,
    rule: Rule,
    cause: String,
    cure: String,
}

/// The mistakes found so far.
#[derive(Default)]
pub(crate) struct Findings(RefCell<Vec<Finding>>);

impl Findings {
    /// Adds a mistake at the byte with this offset. Its texts quote the manifest, which may hold
    /// anything: what would not show is escaped, and texts of more than [`CHARACTERS`] are cut.
    pub(crate) fn add(
        &self,
        rule: Rule,
        place: usize,
        cause: impl AsRef<str>,
        cure: impl AsRef<str>,
    ) {
        let (cause, cure) = (printable(cause.as_ref()), printable(cure.as_ref()));
        self.0.borrow_mut().push(Finding { place, rule, cause, cure });
    }

    /// Whether a mistake of this rule was found.
    pub(crate) fn has(&self, rule: Rule) -> bool {
        self.0.borrow().iter().any(|finding| finding.rule == rule)
    }

    /// The mistakes in the order of their places; `None` without any. In a text that is not TOML, what
    /// is missing or in the wrong place may follow from that, and is left out; so is all but the first
    /// syntax error on its line.
    pub(crate) fn diagnostics(self, file: &str, text: &str) -> Option<Diagnostics> {
        let broken = self.has(Rule::Syntax);
        let mut findings = self.0.into_inner();
        // A stable sort: what is found at one place stays in the order of the checks.
        findings.sort_by_key(|finding| (finding.place, finding.rule != Rule::Syntax));
        let mut cursor = Cursor { text: text.as_bytes(), place: 0, line: 1, column: 1 };
        let mut list: Vec<Diagnostic> = Vec::new();
        let mut broken_line = 0;
        for Finding { place, rule, cause, cure } in findings {
            let (line, column) = cursor.advance(place);
            let doubtful = [Rule::Missing, Rule::UnknownKey, Rule::WrongType].contains(&rule);
            if line == broken_line || (broken && doubtful) {
                continue;
            }
            if rule == Rule::Syntax {
                broken_line = line;
                while list.last().is_some_and(|last| last.line == line) {
                    list.pop();
                }
            }
            list.push(Diagnostic { rule, line, column, cause, cure });
        }
        (!list.is_empty()).then(|| Diagnostics { file: file.into(), list })
    }
}

/// Characters of a cause or a cure, at most.
const CHARACTERS: usize = 400;

fn printable(text: &str) -> String {
    let mut shown = String::new();
    for character in text.chars().take(CHARACTERS) {
        // What changes the direction of text could make a terminal show another one.
        let turns = matches!(character, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
        if character.is_control() || turns {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    if text.chars().nth(CHARACTERS).is_some() {
        shown.push('…');
    }
    shown
}

/// Goes through a text and counts its lines and columns.
struct Cursor<'a> {
    text: &'a [u8],
    place: usize,
    line: usize,
    column: usize,
}

impl Cursor<'_> {
    /// Goes on to the byte at `place`, which is not before the last one; gives its line and column.
    fn advance(&mut self, place: usize) -> (usize, usize) {
        let place = place.min(self.text.len());
        for byte in &self.text[self.place..place] {
            if *byte == b'\n' {
                self.line += 1;
                self.column = 1;
            } else if byte & 0xC0 != 0x80 {
                // Every character has one byte that is not a continuation byte.
                self.column += 1;
            }
        }
        self.place = place;
        (self.line, self.column)
    }
}

/// Candidates that are looked at, at most, since a text may name many and each takes a while.
const CANDIDATES: usize = 200;

/// The candidate most like `word`, if one is so like it that it may have been meant.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let allowed = (word.chars().count() / 3).clamp(1, 3);
    let candidates = candidates.into_iter().take(CANDIDATES);
    let distances = candidates.map(|candidate| (distance(word, candidate), candidate));
    distances.filter(|(distance, _)| *distance <= allowed).min().map(|(_, candidate)| candidate)
}

/// How many characters must be inserted, removed, replaced or swapped with their neighbour to make
/// one word the other; capped at words of 64 characters, beyond which they count as unlike.
fn distance(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    if left.len().max(right.len()) > 64 {
        return usize::MAX;
    }
    let mut rows = vec![vec![0; right.len() + 1]; left.len() + 1];
    for row in 0..=left.len() {
        for column in 0..=right.len() {
            if row == 0 || column == 0 {
                rows[row][column] = row + column;
                continue;
            }
            let same = left[row - 1] == right[column - 1];
            let replaced = rows[row - 1][column - 1] + usize::from(!same);
            let mut least = replaced.min(rows[row - 1][column] + 1).min(rows[row][column - 1] + 1);
            let swapped = row > 1
                && column > 1
                && left[row - 1] == right[column - 2]
                && left[row - 2] == right[column - 1];
            if swapped {
                least = least.min(rows[row - 2][column - 2] + 1);
            }
            rows[row][column] = least;
        }
    }
    rows[left.len()][right.len()]
}
