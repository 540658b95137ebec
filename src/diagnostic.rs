//! Messages about a text a person wrote: what is wrong, where (file, line, column, caret), what to do.
//!
//! Used for the plan and for configuration files. Never decides whether a message stops anything.

use std::{borrow::Cow, ops::Range};

use annotate_snippets::{self as snippets, AnnotationKind, Group, Origin, Renderer, Snippet};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Worth a look; nothing is refused because of it.
    Warning,
    /// What it concerns cannot be used.
    Error,
}

/// One message. Spans are byte ranges of the text that was parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub level: Level,
    /// Stable code, such as `P002` for plans and `C001` for configuration.
    pub code: &'static str,
    /// One sentence without a full stop.
    pub message: String,
    /// What the caret points at.
    pub span: Range<usize>,
    /// What stands beside the caret.
    pub label: String,
    /// A second place that matters, with its own text.
    pub also: Option<(Range<usize>, String)>,
    /// What to do.
    pub help: Option<String>,
}

/// How a message is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Text alone, for files and pipes.
    Plain,
    /// With terminal colours.
    Coloured,
}

/// Longest part of a line shown on either side of what the caret points at, in bytes. The renderer cuts
/// to the width of a terminal by itself; this keeps a line of many megabytes away from it.
const CONTEXT: usize = 240;

/// Longest text the carets run below, in bytes.
const LONGEST_CARET: usize = 160;

/// Lines between two places of one message up to which both are shown in one picture.
const NEARBY: usize = 1_000;

impl Diagnostic {
    /// Line and column of what the caret points at, both from 1, the column in characters.
    pub fn position(&self, source: &str) -> (usize, usize) {
        position(source, self.span.start)
    }

    /// The message as rustc would draw it. `path` is shown as given.
    ///
    /// Reads the source once up to the lines it shows; give it a bounded number of messages.
    pub fn render(&self, path: &str, source: &str, style: Style) -> String {
        let level = match self.level {
            Level::Warning => snippets::Level::WARNING,
            Level::Error => snippets::Level::ERROR,
        };
        let caret = Place::find(source, &self.span);
        let also = self.also.as_ref().map(|(span, _)| Place::find(source, span));
        let (message, caret_label) = (visible(&self.message), visible(&self.label));
        let also_label = self.also.as_ref().map(|(_, label)| visible(label)).unwrap_or_default();
        let path = &*visible(path);
        let title = level.primary_title(&*message).id(self.code);
        let near = also.as_ref().filter(|place| place.line.abs_diff(caret.line) <= NEARBY);
        let mut report = if let Some(place) = near {
            let (first, last) =
                if place.line < caret.line { (place, &caret) } else { (&caret, place) };
            let mut text = String::new();
            let first_span = first.write(source, &mut text);
            let last_span = if last.line == first.line {
                // One excerpt cannot be cut around two places; the second is shown if it is inside.
                last.within(first, &text)
            } else {
                between(source, first, last, &mut text);
                last.write(source, &mut text)
            };
            let (here, there) = if std::ptr::eq(first, &raw const caret) {
                (first_span, last_span)
            } else {
                (last_span, first_span)
            };
            let snippet = Snippet::source(text)
                .line_start(first.line)
                .annotation(AnnotationKind::Context.span(there).label(&*also_label))
                .annotation(AnnotationKind::Primary.span(here).label(&*caret_label));
            picture(title, snippet, path, &caret)
        } else {
            let mut text = String::new();
            let span = caret.write(source, &mut text);
            let snippet = Snippet::source(text)
                .line_start(caret.line)
                .annotation(AnnotationKind::Primary.span(span).label(&*caret_label));
            picture(title, snippet, path, &caret)
        };
        if let Some(place) = also.as_ref().filter(|_| near.is_none()) {
            let mut text = String::new();
            let span = place.write(source, &mut text);
            let snippet = Snippet::source(text)
                .line_start(place.line)
                .path(path)
                .annotation(AnnotationKind::Context.span(span).label(&*also_label));
            report = report.element(snippet);
        }
        let mut groups = vec![report];
        let help = self.help.as_deref().map(visible);
        if let Some(help) = &help {
            groups.push(Group::with_title(snippets::Level::HELP.primary_title(&**help)));
        }
        let renderer = match style {
            Style::Plain => Renderer::plain(),
            Style::Coloured => Renderer::styled(),
        };
        renderer.render(&groups)
    }
}

/// Line and column of a byte offset, both from 1, the column in characters.
pub fn position(source: &str, offset: usize) -> (usize, usize) {
    let place = Place::find(source, &(offset..offset));
    (place.line, place.column)
}

/// Control characters, with which a text could act on a terminal, as the picture of a control character.
fn visible(text: &str) -> Cow<'_, str> {
    if text.chars().any(char::is_control) {
        Cow::Owned(text.chars().map(|c| if c.is_control() { '\u{2426}' } else { c }).collect())
    } else {
        Cow::Borrowed(text)
    }
}

fn picture<'a>(
    title: snippets::Title<'a>,
    snippet: Snippet<'a, snippets::Annotation<'a>>,
    path: &'a str,
    caret: &Place,
) -> Group<'a> {
    if caret.cut_before() == 0 {
        title.element(snippet.path(path))
    } else {
        // The renderer counts columns in what it is given, which here begins in the middle of a line.
        title
            .element(Origin::path(path).line(caret.line).char_column(caret.column))
            .element(snippet)
    }
}

/// A span inside one line of the source.
struct Place {
    line: usize,
    column: usize,
    start: usize,
    end: usize,
    line_start: usize,
    line_end: usize,
}

impl Place {
    /// Spans that leave the text or a character are moved to the nearest place that exists.
    fn find(source: &str, span: &Range<usize>) -> Place {
        let start = floor(source, span.start);
        let bytes = source.as_bytes();
        let line_start =
            bytes[..start].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let mut line_end = bytes[start..]
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(bytes.len(), |at| start + at);
        if line_end > start && bytes[line_end - 1] == b'\r' {
            line_end -= 1;
        }
        // An editor does not count the byte order mark as a column.
        let visible = if source[line_start..].starts_with('\u{feff}') { 3 } else { 0 };
        let line_start = (line_start + visible).min(start);
        let end = floor(source, span.end.min(line_end).min(start.saturating_add(LONGEST_CARET)));
        Place {
            line: count_newlines(&bytes[..line_start]) + 1,
            column: source[line_start..start].chars().count() + 1,
            start,
            end: end.max(start),
            line_start,
            line_end,
        }
    }

    /// Where the shown part of the line begins, as an offset into the line.
    fn cut_before(&self) -> usize {
        let before = self.start - self.line_start;
        before.saturating_sub(CONTEXT)
    }

    /// Appends the line, cut around the span, and a line end. Returns the span in `text`.
    fn write(&self, source: &str, text: &mut String) -> Range<usize> {
        let from = floor(source, self.line_start + self.cut_before());
        let to = floor(source, self.line_end.min(self.end.saturating_add(CONTEXT))).max(self.end);
        if from > self.line_start {
            text.push('…');
        }
        let shift = text.len();
        // The renderer makes the controls of ASCII visible, not those of C1; `¿` has their length.
        let shown = source[from..to].chars();
        text.extend(shown.map(|c| if ('\u{80}'..'\u{a0}').contains(&c) { '¿' } else { c }));
        if to < self.line_end {
            text.push('…');
        }
        text.push('\n');
        shift + self.start - from..shift + self.end - from
    }

    /// This span in the excerpt written for `first`, a place of the same line; its nearest end if the
    /// excerpt was cut before it.
    fn within(&self, first: &Place, excerpt: &str) -> Range<usize> {
        let from = first.line_start + first.cut_before();
        let mark = if excerpt.starts_with('…') { '…'.len_utf8() } else { 0 };
        let shown = excerpt.trim_end_matches('\n');
        let at = |offset: usize| floor(shown, offset.saturating_sub(from) + mark);
        at(self.start)..at(self.end)
    }
}

/// Appends the lines between two places. The renderer shows those next to a place and folds the rest.
fn between(source: &str, first: &Place, last: &Place, text: &mut String) {
    let Some(gap) = source.get(first.line_end..last.line_start) else { return };
    let Some((_, gap)) = gap.split_once('\n') else { return };
    for line in gap.split_inclusive('\n') {
        let line = line.trim_end_matches(['\n', '\r']);
        text.push_str(&line[..floor(line, CONTEXT)]);
        text.push('\n');
    }
}

/// Line ends in `bytes`.
pub(crate) fn count_newlines(bytes: &[u8]) -> usize {
    // Counted in chunks whose sum fits a byte, which the compiler turns into vector instructions.
    bytes
        .chunks(255)
        .map(|chunk| usize::from(chunk.iter().map(|byte| u8::from(*byte == b'\n')).sum::<u8>()))
        .sum()
}

/// The largest character boundary that is not behind `offset`.
fn floor(text: &str, offset: usize) -> usize {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(span: Range<usize>) -> Diagnostic {
        Diagnostic {
            level: Level::Error,
            code: "P006",
            message: "`task_3` depends on `task_55`, which is in no section of this plan"
                .to_owned(),
            span,
            label: "no such task".to_owned(),
            also: None,
            help: Some("did you mean `task_5`?".to_owned()),
        }
    }

    #[test]
    fn a_message_looks_like_one_of_the_compiler() {
        let source = "one\ntwo\n  - Depends on: task_1, task_55\nfour\n";
        let at = source.find("task_55").unwrap();
        let message = sample(at..at + 7);
        assert_eq!(message.position(source), (3, 25));
        assert_eq!(
            message.render("PROJECT_PLAN.md", source, Style::Plain),
            "\
error[P006]: `task_3` depends on `task_55`, which is in no section of this plan
 --> PROJECT_PLAN.md:3:25
  |
3 |   - Depends on: task_1, task_55
  |                         ^^^^^^^ no such task
  |
help: did you mean `task_5`?"
        );
        assert!(message.render("p.md", source, Style::Coloured).contains('\u{1b}'));
    }

    #[test]
    fn two_places_stand_in_one_picture() {
        let source = "a [x]\nb\nc\nd\ne\nf [x]\ng\n";
        let mut message = sample(24 - 8..24 - 8 + 3);
        let last = source.rfind("[x]").unwrap();
        message.span = last..last + 3;
        message.also = Some((2..5, "first used here".to_owned()));
        message.help = None;
        assert_eq!(
            message.render("p.md", source, Style::Plain),
            "\
error[P006]: `task_3` depends on `task_55`, which is in no section of this plan
 --> p.md:6:3
  |
1 | a [x]
  |   --- first used here
...
6 | f [x]
  |   ^^^ no such task"
        );
    }

    #[test]
    fn two_places_far_apart_are_two_pictures() {
        let source = format!("a [x]\n{}f [x]\n", "\n".repeat(5000));
        let last = source.rfind("[x]").unwrap();
        let mut message = sample(last..last + 3);
        message.also = Some((2..5, "first used here".to_owned()));
        message.help = None;
        let text = message.render("p.md", &source, Style::Plain);
        assert!(text.contains("--> p.md:5002:3"), "{text}");
        assert!(text.contains("::: p.md:1:3"), "{text}");
    }

    #[test]
    fn a_line_of_megabytes_is_cut_and_keeps_its_column() {
        let source = format!("first\n{}needle{}\n", "ä".repeat(3 << 20), "b".repeat(4 << 20));
        let at = source.find("needle").unwrap();
        let text = sample(at..at + 6).render("p.md", &source, Style::Plain);
        assert!(text.contains(&format!("--> p.md:2:{}", (3 << 20) + 1)), "{text}");
        assert!(text.contains("needle"), "{text}");
        assert!(text.contains("^^^^^^"), "{text}");
        assert!(text.len() < 4000);
    }

    #[test]
    fn terminal_controls_of_a_plan_are_not_passed_on() {
        let source = "x \u{1b}[2J \u{9b}2J y";
        let mut message = sample(0..1);
        message.message = "bad \u{1b}[2J".to_owned();
        message.label = "\u{1b}[2J".to_owned();
        message.help = Some("\u{1b}[2J".to_owned());
        let text = message.render("p.md", source, Style::Plain);
        assert!(!text.contains(['\u{1b}', '\u{9b}']), "{text:?}");
    }

    #[test]
    fn a_span_that_is_not_there_does_no_harm() {
        for source in ["", "ä", "a\r\nb", "\u{feff}x"] {
            for start in 0..8 {
                for end in 0..8 {
                    let mut message = sample(start..end);
                    message.also = Some((end..start, "there".to_owned()));
                    let _ = message.render("p.md", source, Style::Plain);
                }
            }
        }
    }
}
