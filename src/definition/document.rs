//! One text file that is being read: collects everything wrong with it, and keeps secrets that
//! should not stand in it out of whatever is shown.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;
use std::path::Path;

use super::diagnostic::{Diagnostic, Excerpt, Severity};

/// What is shown in place of a secret.
const MASK: &str = "\u{2026}";

/// A file and what is wrong with it.
pub(crate) struct Document {
    file: String,
    text: String,
    /// Where each line begins: rosters are long, and so may be the list of their mistakes.
    lines: Vec<usize>,
    problems: RefCell<Vec<Problem>>,
    masks: RefCell<Vec<Range<usize>>>,
}

struct Problem {
    severity: Severity,
    /// Bytes of the text; none: the file as a whole.
    span: Option<Range<usize>>,
    message: String,
    help: String,
}

/// A place in a document.
#[derive(Clone)]
pub(crate) struct At<'d> {
    document: &'d Document,
    span: Option<Range<usize>>,
}

/// A value and where it stands.
#[derive(Clone)]
pub(crate) struct Placed<'d, T> {
    pub(crate) value: T,
    pub(crate) at: At<'d>,
}

/// Why a value is refused, and what to write instead.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) message: String,
    pub(crate) help: String,
}

/// No file of settings is larger than this, in bytes: a roster of 100,000 mailboxes has ten.
const LARGEST: u64 = 64 << 20;

/// Never waits on a pipe and never reads a device to its end.
fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(std::io::Error::other("it is not a regular file"));
    }
    if metadata.len() > LARGEST {
        return Err(std::io::Error::other("it is larger than 64 MiB"));
    }
    std::fs::read(path)
}

/// Short for building a [`Wrong`].
pub(crate) fn wrong(message: impl Into<String>, help: impl Into<String>) -> Wrong {
    Wrong { message: message.into(), help: help.into() }
}

impl Document {
    /// A document from text; a byte order mark is not part of it.
    pub(crate) fn new(file: impl Into<String>, text: &str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text).to_owned();
        let ends = text.match_indices('\n').map(|(at, _)| at + 1);
        Self {
            lines: std::iter::once(0).chain(ends).collect(),
            file: file.into(),
            text,
            problems: RefCell::default(),
            masks: RefCell::default(),
        }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read or is not UTF-8.
    pub(crate) fn read(file: &str, path: &Path) -> Result<Self, Diagnostic> {
        let bytes = read_bounded(path).map_err(|error| {
            let help = "check the path and that drover may read it";
            Diagnostic::about_file(file, format!("cannot read the file: {error}"), help)
        })?;
        match std::str::from_utf8(&bytes) {
            Ok(text) => Ok(Self::new(file, text)),
            Err(error) => {
                let good = &bytes[..error.valid_up_to()];
                let line_start = good.iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
                let column = String::from_utf8_lossy(&good[line_start..]).chars().count() + 1;
                let mut diagnostic =
                    Diagnostic::about_file(file, "the file is not UTF-8 text", "save it as UTF-8");
                diagnostic.line = Some(good.iter().filter(|&&b| b == b'\n').count() + 1);
                diagnostic.column = Some(column);
                Err(diagnostic)
            }
        }
    }

    /// The text that spans count in.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// A place in it.
    pub(crate) fn at(&self, span: Range<usize>) -> At<'_> {
        At { document: self, span: Some(span) }
    }

    /// The document as a whole.
    pub(crate) fn whole(&self) -> At<'_> {
        At { document: self, span: None }
    }

    /// Never show these bytes.
    pub(crate) fn mask(&self, span: Range<usize>) {
        self.masks.borrow_mut().push(span);
    }

    /// Everything that was reported, in the order of the text.
    pub(crate) fn diagnostics(&self) -> Vec<Diagnostic> {
        let mut problems: Vec<_> = self.problems.take();
        problems.sort_by_key(|p| p.span.as_ref().map(|span| (span.start, span.end)));
        self.masks.borrow_mut().sort_by_key(|mask| mask.start);
        problems.into_iter().map(|problem| self.diagnostic(problem)).collect()
    }

    fn diagnostic(&self, problem: Problem) -> Diagnostic {
        let Problem { severity, span, message, help } = problem;
        let mut diagnostic = Diagnostic::about_file(&self.file, message, help);
        diagnostic.severity = severity;
        diagnostic.help.take_if(|help| help.is_empty());
        let Some(span) = span else { return diagnostic };
        let start = self.text.floor_char_boundary(span.start);
        let number = self.line_of(start);
        let line_start = self.lines[number - 1];
        let line = self.text[line_start..].split('\n').next().unwrap_or_default();
        let line_end = line_start + line.trim_end_matches('\r').len();
        // A mistake in the line's end, which is not shown, is pointed at behind the line.
        let within = start.min(line_end);
        let end = self.text.floor_char_boundary(span.end).clamp(within, line_end);
        let shown_start = self.shown(line_start..within).len();
        let shown_end = self.shown(line_start..end).len();
        diagnostic.line = Some(number);
        diagnostic.column = Some(self.text[line_start..start].chars().count() + 1);
        diagnostic.excerpt = Some(Box::new(Excerpt {
            text: self.shown(line_start..line_end),
            span: shown_start..shown_end.max(shown_start),
        }));
        diagnostic
    }

    /// The line, from 1, in which a byte stands.
    fn line_of(&self, at: usize) -> usize {
        self.lines.partition_point(|start| *start <= at)
    }

    /// A part of the text with the secrets in it masked.
    fn shown(&self, part: Range<usize>) -> String {
        let mut shown = String::new();
        let mut at = part.start;
        let masks = self.masks.borrow();
        let reached = masks.iter().skip_while(|mask| mask.end <= part.start);
        for mask in reached.take_while(|mask| mask.start < part.end) {
            let hidden = mask.start.max(at)..mask.end.min(part.end);
            if hidden.start < hidden.end {
                shown.push_str(&self.text[at..hidden.start]);
                shown.push_str(MASK);
                at = hidden.end;
            }
        }
        shown.push_str(self.text.get(at..part.end).unwrap_or_default());
        shown
    }
}

impl<'d> At<'d> {
    /// Reports an error here.
    pub(crate) fn error(&self, message: impl Into<String>, help: impl Into<String>) {
        self.report(Severity::Error, message.into(), help.into());
    }

    /// Reports a warning here.
    pub(crate) fn warning(&self, message: impl Into<String>, help: impl Into<String>) {
        self.report(Severity::Warning, message.into(), help.into());
    }

    /// Reports a refused value here.
    pub(crate) fn refuse(&self, wrong: Wrong) {
        self.error(wrong.message, wrong.help);
    }

    /// Hides what stands here.
    pub(crate) fn mask(&self) {
        if let Some(span) = &self.span {
            self.document.mask(span.clone());
        }
    }

    /// A value that stands here.
    pub(crate) fn place<T>(&self, value: T) -> Placed<'d, T> {
        Placed { value, at: self.clone() }
    }

    /// The value at this place, or a report of why it is refused.
    pub(crate) fn checked<T>(self, result: Result<T, Wrong>) -> Option<Placed<'d, T>> {
        result.map_err(|wrong| self.refuse(wrong)).ok().map(|value| self.place(value))
    }

    fn report(&self, severity: Severity, message: String, help: String) {
        let problem = Problem { severity, span: self.span.clone(), message, help };
        self.document.problems.borrow_mut().push(problem);
    }
}

/// `acme.toml:12`
impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.document.file)?;
        let Some(span) = &self.span else { return Ok(()) };
        write!(f, ":{}", self.document.line_of(span.start))
    }
}
