//! The lines of a section, one by one: which are text, and which are only shown (code, quotations,
//! tables) or hidden (comments, HTML). And the survey of a section, which decides what its tasks look like.
//!
//! Where Markdown and the eye disagree about what is code or a comment, the reading that hides more wins.

use std::ops::Range;

use super::{
    checks,
    draft::approval_box,
    field,
    line::{Line, Marker},
    outline::Masks,
};

/// A line that the walker gives out.
pub(super) struct Physical<'a> {
    pub(super) text: &'a str,
    pub(super) span: Range<usize>,
    pub(super) kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// To be read.
    Text,
    Blank,
    /// `---`: ends a task.
    Rule,
    /// Code, a quotation or a table: shown to people and the agent, never read.
    Shown,
    /// A comment or HTML: not shown.
    Hidden,
    /// A comment begins in the line and goes on behind it.
    OpensComment,
}

/// Walks the lines of one section.
pub(super) struct Walker<'a> {
    pub(super) source: &'a str,
    pub(super) at: usize,
    pub(super) end: usize,
    pub(super) masks: Masks<'a>,
    pub(super) conflicts: &'a [Range<usize>],
    /// A fence that Markdown does not see because it is indented too far, but that people mean.
    pub(super) fence: Option<(char, usize)>,
    /// A comment goes on. Markdown ends it where a list begins; people do not.
    pub(super) comment: bool,
    /// Where the plan's last `-->` stands: what opens behind it is no comment.
    pub(super) last_close: usize,
}

impl<'a> Iterator for Walker<'a> {
    type Item = Physical<'a>;

    fn next(&mut self) -> Option<Physical<'a>> {
        if self.at >= self.end {
            return None;
        }
        let rest = &self.source[self.at..self.end];
        // A carriage return alone ends a line too: Markdown says so, and a fence may begin behind it.
        let (text, behind) = rest.split_at(rest.find(['\n', '\r']).unwrap_or(rest.len()));
        let span = self.at..self.at + text.len();
        self.at = span.end + line_end(behind).len();
        let kind = self.kind(text, &span);
        Some(Physical { text, span, kind })
    }
}

impl Walker<'_> {
    fn kind(&mut self, text: &str, span: &Range<usize>) -> Kind {
        let content = text.trim_start();
        let start = span.end - content.len();
        if self.comment {
            self.comment = !content.contains("-->");
            return if content.is_empty() { Kind::Blank } else { Kind::Hidden };
        }
        let mask = self.masks.covering(start);
        if let Some((sign, length)) = self.fence {
            let closing = content.len() - content.trim_start_matches(sign).len();
            if closing >= length && content.trim_start_matches(sign).trim().is_empty() {
                self.fence = None;
            }
            return if content.is_empty() { Kind::Blank } else { Kind::Shown };
        }

        if let Some(mask) = mask.filter(|_| !content.is_empty()) {
            // Masks begin at their first mark: `<` of HTML, a backtick or tilde of code.
            let code = self.source[mask.start..].trim_start().starts_with(['`', '~']);
            return if code { Kind::Shown } else { Kind::Hidden };
        }
        if content.is_empty() {
            return Kind::Blank;
        }
        for sign in ['`', '~'] {
            let info = content.trim_start_matches(sign);
            let length = content.len() - info.len();
            if length >= 3 && !(sign == '`' && info.contains('`')) {
                self.fence = Some((sign, length));
                return Kind::Shown;
            }
        }
        if content.starts_with(['>', '|']) || self.is_conflict_mark(content, start) {
            return Kind::Shown;
        }
        let marks = content.chars().filter(|c| !c.is_whitespace());
        let sign = content.chars().next().unwrap_or_default();
        if matches!(sign, '-' | '*' | '_') && content.len() < 200 {
            let mut count = 0;
            if marks.inspect(|_| count += 1).all(|c| c == sign) && count >= 3 {
                return Kind::Rule;
            }
        }
        self.comment = self.opens_comment(content, start);
        if self.comment { Kind::OpensComment } else { Kind::Text }
    }

    /// Whether a comment begins in the line and ends behind it. One in backticks is only mentioned.
    fn opens_comment(&self, content: &str, start: usize) -> bool {
        let Some(at) = content.rfind("<!--").filter(|at| start + at < self.last_close) else {
            return false;
        };
        let mentioned = content[..at].bytes().filter(|byte| *byte == b'`').count() % 2 == 1;
        !mentioned && !content[at..].contains("-->")
    }

    fn is_conflict_mark(&self, content: &str, start: usize) -> bool {
        content.starts_with(['<', '=', '>', '|'])
            && checks::inside(self.conflicts, start)
            && ["<<<<<<<", "=======", ">>>>>>>", "|||||||"].iter().any(|m| content.starts_with(m))
    }
}

/// The line end that `text` begins with; empty where it begins with none.
pub(super) fn line_end(text: &str) -> &str {
    let end = ["\r\n", "\n", "\r"].into_iter().find(|end| text.starts_with(end));
    end.unwrap_or_default()
}

/// What a section's lines look like together: this decides which of them are tasks.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Survey {
    /// Least indentation of `→ **[id]**` and its like.
    pub(super) strong: Option<usize>,
    /// Least indentation of items with a box.
    pub(super) boxed: Option<usize>,
    /// Least indentation of items, and the marker of the first that has it.
    pub(super) plain: Option<(usize, Marker)>,
    /// There are items that name an id beside a box or in bold brackets.
    pub(super) named: bool,
}

/// Reads a section once, to see what its tasks look like.
pub(super) fn survey(walker: Walker<'_>) -> Survey {
    let mut survey = Survey::default();
    // Least indentation of items that name an id without a box, and of fields with a marker.
    let (mut by_id, mut fields) = (None, None);
    let least = |known: Option<usize>, indent: usize| Some(known.map_or(indent, |k| k.min(indent)));
    for physical in walker {
        if physical.kind != Kind::Text {
            continue;
        }
        let line = Line::read(physical.text, physical.span.start);
        let Some(marker) = line.marker else { continue };
        if line.is_strong() {
            survey.strong = least(survey.strong, line.indent);
            survey.named = true;
            continue;
        }
        if approval_box(&line).is_some() {
            continue;
        }
        if line.tick.is_some() {
            survey.boxed = least(survey.boxed, line.indent);
            survey.named |= line.id.is_some();
        } else if line.id.is_some() {
            by_id = least(by_id, line.indent);
        }
        // Most lines are deeper than the first item, and need no closer look.
        let better = survey.plain.is_none_or(|(indent, _)| line.indent < indent);
        if !better && fields.is_some_and(|indent| indent <= line.indent) {
            continue;
        }
        if field::read(line.body).is_some_and(|field| field.key.is_some()) {
            fields = least(fields, line.indent);
        } else if better {
            survey.plain = Some((line.indent, marker));
        }
    }
    // Boxes below an item that is a task by itself are its steps; below any other they are the tasks.
    if let (Some(boxed), Some((base, _))) = (survey.boxed, survey.plain) {
        let below = |indent: Option<usize>| indent.is_some_and(|at| at <= boxed && at > base);
        if base < boxed && (by_id.is_some_and(|indent| indent < boxed) || below(fields)) {
            survey.boxed = None;
        }
    }
    survey
}
