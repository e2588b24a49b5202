//! What is wrong with a file, and where: plain data that renders like a compiler's message.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Origin, Renderer, Snippet};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::text::{tame_colored, tame_lines};

/// Help up to this many characters stands beside the caret; longer help gets its own line.
const HELP_BESIDE_CARET: usize = 60;

/// Long lines are cut around the caret to about this width, in columns.
const WIDTH: usize = 120;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// The file is used; somebody should look at it.
    Warning,
}

/// One thing that is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The file, as it was named to drover.
    pub file: String,
    /// Line, from 1; absent if it is about the file as a whole.
    pub line: Option<usize>,
    /// Column in characters, from 1.
    pub column: Option<usize>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// The line itself, for [`Diagnostic::render`]. Not part of the data.
    #[serde(skip)]
    pub(super) excerpt: Option<Box<Excerpt>>,
}

/// One line of a file, secrets already masked, and the bytes of it that are meant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Excerpt {
    pub(super) text: String,
    pub(super) span: Range<usize>,
}

impl Diagnostic {
    /// An error about a file as a whole.
    pub fn about_file(file: &str, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            file: file.to_owned(),
            line: None,
            column: None,
            message: message.into(),
            help: Some(help.into()),
            excerpt: None,
        }
    }

    /// True if the file cannot be used because of it.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// The text for people, without a line end; with terminal colours if asked for.
    pub fn render(&self, color: bool) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        // They quote what stands in the file, which may be a stranger's account name.
        let (message, help) =
            (tame_lines(&self.message), self.help.as_deref().map(tame_lines).unwrap_or_default());
        let report = level.primary_title(&message);
        let mut below = (!help.is_empty()).then_some(help.as_str());
        let group = match (&self.excerpt, self.line) {
            (Some(excerpt), Some(line)) => {
                let mut caret = AnnotationKind::Primary.span(excerpt.span.clone());
                let beside = below.take_if(|h| h.chars().count() <= HELP_BESIDE_CARET);
                if let Some(help) = beside {
                    caret = caret.label(format!("help: {help}"));
                }
                let snippet = Snippet::source(excerpt.text.as_str()).line_start(line);
                report.element(snippet.path(self.file.as_str()).annotation(caret))
            }
            (None, Some(line)) => {
                let origin = Origin::path(self.file.as_str()).line(line);
                report.element(origin.char_column(self.column.unwrap_or(1)))
            }
            (_, None) => report.element(Origin::path(self.file.as_str())),
        };
        let group = match below {
            Some(help) => group.element(Level::HELP.message(help)),
            None => group,
        };
        // The renderer has made most of the excerpt harmless itself; colours are its own.
        tame_colored(&renderer.term_width(WIDTH).render(&[group]))
    }
}

/// Renders several, an empty line between them.
pub fn render_all(diagnostics: &[Diagnostic], color: bool) -> String {
    let rendered: Vec<_> = diagnostics.iter().map(|d| d.render(color)).collect();
    rendered.join("\n\n")
}
