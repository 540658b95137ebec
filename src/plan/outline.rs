//! The frame of a plan: its headings, and the places where text is only shown, never meant (fenced code,
//! comments, HTML). Found by a Markdown parser; what stands between is read line by line elsewhere.
//!
//! Says nothing about what a heading means.

use std::ops::Range;

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

/// Longest heading that is kept, in bytes. Every task carries its section's heading.
const LONGEST_HEADING: usize = 200;

/// A heading and where it stands.
#[derive(Debug)]
pub(super) struct Heading {
    /// 1 to 6.
    pub(super) level: u8,
    /// Its text without marks, at most [`LONGEST_HEADING`] bytes.
    pub(super) text: String,
    /// From its first mark to its line end.
    pub(super) span: Range<usize>,
    /// Written with a line of `=` or `-` below.
    pub(super) underlined: bool,
    /// Inside a list item.
    pub(super) nested: bool,
}

/// What [`outline`] finds. Both lists are in the order of the file.
#[derive(Debug, Default)]
pub(super) struct Outline {
    /// All headings but those in quotations.
    pub(super) headings: Vec<Heading>,
    /// Fenced code, HTML blocks and comments.
    pub(super) masks: Vec<Range<usize>>,
    /// Where the text behind a byte order mark and front matter begins.
    pub(super) start: usize,
}

/// Reads the frame of `source`.
#[expect(clippy::wildcard_enum_match_arm, reason = "all other Markdown is of no concern")]
pub(super) fn outline(source: &str) -> Outline {
    let start = front_matter(source);
    let mut outline = Outline { start, ..Outline::default() };
    let text = &source[start..];
    let shift = |range: Range<usize>| range.start + start..range.end + start;
    let (mut lists, mut quotes) = (0_usize, 0_usize);
    let mut open: Option<Heading> = None;
    for (event, range) in Parser::new_ext(text, Options::empty()).into_offset_iter() {
        let plain = match event {
            Event::Start(tag) => {
                match tag {
                    Tag::Heading { level, .. } if quotes == 0 => {
                        open = Some(Heading {
                            level: level as u8,
                            text: String::new(),
                            underlined: !text[range.clone()].starts_with('#'),
                            span: shift(range),
                            nested: lists > 0,
                        });
                    }
                    Tag::CodeBlock(CodeBlockKind::Fenced(_)) | Tag::HtmlBlock => {
                        outline.masks.push(shift(range));
                    }
                    Tag::List(_) => lists += 1,
                    Tag::BlockQuote(_) => quotes += 1,
                    _ => {}
                }
                continue;
            }
            Event::End(tag) => {
                match tag {
                    TagEnd::Heading(_) => outline.headings.extend(open.take()),
                    TagEnd::List(_) => lists -= 1,
                    TagEnd::BlockQuote(_) => quotes -= 1,
                    _ => {}
                }
                continue;
            }
            Event::InlineHtml(html) => {
                if html.starts_with("<!--") {
                    outline.masks.push(shift(range));
                }
                continue;
            }
            Event::Text(plain) | Event::Code(plain) => plain,
            Event::SoftBreak | Event::HardBreak => " ".into(),
            _ => continue,
        };
        if let Some(heading) = &mut open {
            let room = LONGEST_HEADING.saturating_sub(heading.text.len());
            let mut end = plain.len().min(room);
            while !plain.is_char_boundary(end) {
                end -= 1;
            }
            heading.text.push_str(&plain[..end]);
        }
    }
    outline
}

/// The offset behind a byte order mark and a block of front matter, whose last line would otherwise turn
/// the line above it into a heading.
fn front_matter(source: &str) -> usize {
    let start = if source.starts_with('\u{feff}') { 3 } else { 0 };
    let mut lines = source[start..].split_inclusive('\n');
    if lines.next().is_none_or(|line| line.trim_end() != "---") {
        return start;
    }
    let mut end = start + source[start..].find('\n').map_or(0, |at| at + 1);
    let mut keys = 0;
    // Front matter of a hundred lines is none.
    for line in lines.take(100) {
        end += line.len();
        let text = line.trim_end();
        if text == "---" || text == "..." {
            return if keys > 0 { end } else { start };
        }
        let key = text.split(':').next().unwrap_or_default();
        let is_key = text.contains(':')
            && key.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'));
        let continues = text.starts_with([' ', '\t', '#', '-']) && !text.starts_with("##");
        if is_key {
            keys += 1;
        } else if !continues && !text.is_empty() {
            return start;
        }
    }
    start
}

/// Answers whether an offset is masked, for offsets that only grow.
#[derive(Clone, Debug)]
pub(super) struct Masks<'a> {
    masks: &'a [Range<usize>],
    at: usize,
}

impl<'a> Masks<'a> {
    pub(super) fn new(masks: &'a [Range<usize>]) -> Masks<'a> {
        Masks { masks, at: 0 }
    }

    /// The mask that covers `offset`.
    pub(super) fn covering(&mut self, offset: usize) -> Option<Range<usize>> {
        while self.masks.get(self.at).is_some_and(|mask| mask.end <= offset) {
            self.at += 1;
        }
        self.masks.get(self.at).filter(|mask| mask.start <= offset).cloned()
    }
}
