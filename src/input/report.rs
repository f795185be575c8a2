//! How problems look on a screen: the place, the text under a caret, and what to write instead.

use std::fmt;

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError,
    MietteSpanContents, SourceCode, SourceSpan, SpanContents, ThemeCharacters, ThemeStyles,
};

use super::{InputErrors, Place, Problem, Source, Warning};

/// Whether a report uses colour: only for terminals, and never with `NO_COLOR`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// Plain text.
    Never,
    /// ANSI escapes.
    Always,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Refused.
    Error,
    /// Allowed.
    Warning,
}

impl InputErrors {
    /// All mistakes, each as its own report, then their count.
    #[must_use]
    pub fn render(&self, colour: Colour) -> String {
        let reports: Vec<String> = self
            .problems
            .iter()
            .map(|problem| render(&self.source, problem, Severity::Error, colour))
            .collect();
        let count = match self.problems.len() {
            1 => "1 error".to_owned(),
            count => format!("{count} errors"),
        };
        format!("{}\n{count} in {}", reports.join("\n"), self.source.path)
    }
}

impl fmt::Display for InputErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(Colour::Never))
    }
}

impl Warning {
    /// The warning as a report of its own.
    #[must_use]
    pub fn render(&self, colour: Colour) -> String {
        render(&self.source, &self.problem, Severity::Warning, colour)
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(Colour::Never))
    }
}

fn render(source: &Source, problem: &Problem, severity: Severity, colour: Colour) -> String {
    let report = Report {
        problem,
        severity,
        source: WholeLines(source),
    };
    let handler = GraphicalReportHandler::new_themed(theme(colour))
        .with_wrap_lines(false)
        .with_context_lines(0)
        .with_links(false);
    let mut text = String::new();
    match handler.render_report(&mut text, &report) {
        Ok(()) => trim_lines(&text),
        Err(_) => format!("{}\n", problem.message),
    }
}

fn theme(colour: Colour) -> GraphicalTheme {
    let characters = ThemeCharacters {
        underline: '^',
        underbar: '^',
        ..ThemeCharacters::unicode()
    };
    let styles = match colour {
        Colour::Never => ThemeStyles::none(),
        Colour::Always => ThemeStyles::ansi(),
    };
    GraphicalTheme { characters, styles }
}

/// Without the blanks that the handler leaves at line ends and before the first line.
fn trim_lines(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    while lines.first().is_some_and(|line| line.is_empty()) {
        lines.remove(0);
    }
    let mut trimmed = lines.join("\n");
    trimmed.push('\n');
    trimmed
}

/// One problem as miette sees it.
struct Report<'a> {
    problem: &'a Problem,
    severity: Severity,
    source: WholeLines<'a>,
}

/// Shows the whole lines that a span touches, and no others.
struct WholeLines<'a>(&'a Source);

impl SourceCode for WholeLines<'_> {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        _before: usize,
        _after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let text = &self.0.text;
        let start = boundary(text, span.offset());
        let end = boundary(text, span.offset() + span.len()).max(start);
        let first = text
            .get(..start)
            .and_then(|text| text.rfind('\n'))
            .map_or(0, |at| at + 1);
        let rest = text.get(end..).and_then(|text| text.find('\n'));
        let last = rest.map_or(text.len(), |length| end + length);
        let lines = text.get(first..last).unwrap_or_default();
        let (line, column) = self.0.line_and_column(start);
        Ok(Box::new(MietteSpanContents::new_named(
            self.0.path.to_string(),
            lines.as_bytes(),
            SourceSpan::from((first, lines.len())),
            line - 1,
            column - 1,
            lines.matches('\n').count() + 1,
        )))
    }
}

impl Report<'_> {
    /// The part of a place that lies on its first line, within the text.
    fn span(&self, place: Place) -> SourceSpan {
        let start = boundary(&self.source.0.text, place.start);
        let end = boundary(&self.source.0.text, place.end).max(start);
        let length = self
            .source
            .0
            .text
            .get(start..end)
            .and_then(|text| text.lines().next())
            .map_or(0, |line| line.trim_end().len());
        SourceSpan::from((start, length))
    }
}

/// The nearest offset at or before this one that lies between two characters.
pub(super) fn boundary(text: &str, offset: usize) -> usize {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}

impl fmt::Debug for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.problem.fmt(f)
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem.message)
    }
}

impl std::error::Error for Report<'_> {}

impl Diagnostic for Report<'_> {
    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let help = self.problem.help.as_ref()?;
        Some(Box::new(help))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.problem.place.map(|_| &self.source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let place = self.problem.place?;
        let main = LabeledSpan::new_primary_with_span(None, self.span(place));
        let related = self.problem.related.as_ref().map(|(place, label)| {
            LabeledSpan::new_with_span(Some(label.clone()), self.span(*place))
        });
        Some(Box::new(std::iter::once(main).chain(related)))
    }
}
