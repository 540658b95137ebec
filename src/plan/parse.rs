//! Markdown to a [`Plan`]: walks the lines once to survey a section and once to read its tasks.
//!
//! Never fails and never lets one task's fault reach another: what is wrong becomes a [`Diagnostic`],
//! and an error in the task that it concerns.

use std::ops::Range;

use super::{
    Plan, Section, SectionClass, SectionWords, checks,
    draft::{Draft, approval_box},
    field::{self, Key, Spelling},
    line::{Line, Marker},
    outline::{Heading, Masks, Outline, outline},
    section::{classify, explains, stricter},
    walk::{Kind, Physical, Survey, Walker, line_end, survey},
};
use crate::diagnostic::{Diagnostic, Level, count_newlines};

/// Most tasks of one plan. A file of ten megabytes could name millions, and each takes memory.
const MOST_TASKS: usize = 150_000;

/// Most warnings about lines that look like tasks, per section.
const MOST_LOOK_ALIKES: usize = 3;

/// Reads the text of a plan. Every plan can be read; the messages say what is wrong with it.
pub fn parse(source: &str, words: &SectionWords) -> (Plan, Vec<Diagnostic>) {
    let outline = outline(source);
    let conflicts = checks::conflicts(source);
    let mut reader = Reader::new(source, words, &outline, &conflicts);
    reader.read();
    let Reader { sections, drafts, mut diagnostics, .. } = reader;
    let mut plan = Plan { tasks: Vec::new(), sections };
    checks::whole_plan(source, words, &mut plan, drafts, &conflicts, &mut diagnostics);
    diagnostics.sort_by_key(|message| message.span.start);
    (plan, diagnostics)
}

/// The bytes of a plan file as text in which every byte stands where it stood: a byte that is not UTF-8
/// becomes `?`. Edits are made in the bytes, so that nothing else is lost. Says so if there are any.
pub fn decode(bytes: &[u8]) -> (String, Option<Diagnostic>) {
    let mut text = String::with_capacity(bytes.len());
    let mut first = None;
    let mut bad = 0_usize;
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            first.get_or_insert(text.len());
            bad += chunk.invalid().len();
            text.extend(chunk.invalid().iter().map(|_| '?'));
        }
    }
    let message = first.map(|at| Diagnostic {
        level: Level::Warning,
        code: "P020",
        message: if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
            "this plan is saved as UTF-16, which nightshift does not read".to_owned()
        } else if bad == 1 {
            "this plan has a byte that is not UTF-8".to_owned()
        } else {
            format!("this plan has {bad} bytes that are not UTF-8")
        },
        span: at..at + 1,
        label: "read as `?`".to_owned(),
        also: None,
        help: Some(
            "save the file as UTF-8; edits by nightshift keep these bytes as they are".to_owned(),
        ),
    });
    (text, message)
}

struct Reader<'a> {
    source: &'a str,
    words: &'a SectionWords,
    outline: &'a Outline,
    conflicts: &'a [Range<usize>],
    sections: Vec<Section>,
    drafts: Vec<Draft>,
    diagnostics: Vec<Diagnostic>,
    spelling: Spelling,
    open: Option<Draft>,
    /// Level, class and naming section of the headings above.
    above: Vec<(u8, Section)>,
    /// Line ends before `counted`, plus one.
    line: usize,
    counted: usize,
    look_alikes: usize,
    last_close: usize,
    /// There were more tasks than are read.
    full: bool,
}

impl<'a> Reader<'a> {
    fn new(
        source: &'a str,
        words: &'a SectionWords,
        outline: &'a Outline,
        conflicts: &'a [Range<usize>],
    ) -> Reader<'a> {
        Reader {
            source,
            words,
            outline,
            conflicts,
            sections: Vec::new(),
            drafts: Vec::new(),
            diagnostics: Vec::new(),
            spelling: Spelling::default(),
            open: None,
            above: Vec::new(),
            line: 1,
            counted: 0,
            look_alikes: 0,
            last_close: source.rfind("-->").unwrap_or_default(),
            full: false,
        }
    }

    fn read(&mut self) {
        let mut masks = Masks::new(&self.outline.masks);
        let headings: Vec<&Heading> =
            self.outline.headings.iter().filter(|heading| self.is_heading(heading)).collect();
        let first = headings.first().map_or(self.source.len(), |heading| heading.span.start);
        self.read_section(self.outline.start..first, &mut masks, None);
        for (number, heading) in headings.iter().enumerate() {
            let end = headings.get(number + 1).map_or(self.source.len(), |next| next.span.start);
            let body = heading.span.end.min(end)..end;
            self.read_section(body, &mut masks, Some(heading));
        }
        self.close();
    }

    /// Whether what Markdown calls a heading is one to the eye.
    fn is_heading(&self, heading: &Heading) -> bool {
        let text = &self.source[heading.span.clone()];
        if heading.underlined {
            // A task followed by `---` without a blank line is a task, and so is a field.
            let mut lines = text.trim_end().lines();
            let first = lines.next().unwrap_or_default();
            let line = Line::read(first, heading.span.start);
            let field = field::read(line.body).is_some_and(|field| field.key.is_some());
            let in_conflict = checks::inside(self.conflicts, heading.span.start);
            if lines.count() > 1 || line.marker.is_some() || field || in_conflict {
                return false;
            }
        }
        // Inside a list item only a heading that forbids something counts.
        !heading.nested || {
            let class = classify(&heading.text, self.words);
            !matches!(class, SectionClass::Ready | SectionClass::Other)
        }
    }

    fn line_of(&mut self, offset: usize) -> usize {
        if offset > self.counted {
            let passed = &self.source.as_bytes()[self.counted..offset];
            self.line += count_newlines(passed);
            self.counted = offset;
        }
        self.line
    }

    fn walker(&self, body: &Range<usize>, masks: &Masks<'a>) -> Walker<'a> {
        Walker {
            source: self.source,
            at: body.start,
            end: body.end,
            masks: masks.clone(),
            conflicts: self.conflicts,
            fence: None,
            comment: false,
            last_close: self.last_close,
        }
    }

    fn read_section(
        &mut self,
        body: Range<usize>,
        masks: &mut Masks<'a>,
        heading: Option<&Heading>,
    ) {
        let survey = survey(self.walker(&body, masks));
        let inside = match heading {
            Some(heading) => self.enter(heading, &survey),
            None => false,
        };
        let section = self.above.last().map_or_else(
            || Section { heading: String::new(), class: SectionClass::Other, line: 1 },
            |(_, section)| section.clone(),
        );
        self.look_alikes = 0;
        let mut walker = self.walker(&body, masks);
        let mut table = false;
        for physical in walker.by_ref() {
            let is_row = physical.text.trim_start().starts_with('|');
            match physical.kind {
                Kind::Blank => {}
                Kind::Rule => self.close(),
                Kind::Shown | Kind::Hidden => {
                    self.grow(&physical);
                    let hidden = physical.kind == Kind::Hidden;
                    if let Some(open) = &mut self.open {
                        open.take_shown(physical.text, hidden);
                    }
                    // One message for a table.
                    if !(table && is_row) {
                        self.note_shown(&physical, section.class, is_row);
                    }
                }
                Kind::OpensComment => {
                    self.grow(&physical);
                    if let Some(open) = &mut self.open {
                        open.take_shown(physical.text, true);
                    }
                    let line = Line::read(physical.text, physical.span.start);
                    if line.marker.is_some() {
                        let why = "a comment begins here and goes on behind this line";
                        self.look_alike(section.class, line.span, why);
                    }
                }
                Kind::Text => self.take(&physical, &section, &survey, inside),
            }
            table = is_row;
        }
        *masks = walker.masks;
    }

    /// Takes a heading: a task of its own, a part of the open task, or a section. Answers whether the
    /// lines below belong to a task that is a heading.
    fn enter(&mut self, heading: &Heading, survey: &Survey) -> bool {
        let number = self.line_of(heading.span.start);
        let own = classify(&heading.text, self.words);
        let owner = self.open.as_ref().and_then(|open| open.heading);
        let raw = &self.source[heading.span.clone()];
        let text = raw.lines().next().unwrap_or_default();
        let body = text.trim_start_matches('#').trim_start();
        let at = heading.span.start + text.len() - body.len();
        let mut line = Line::behind_marker(body, at);
        let named = line.id.as_ref().is_some_and(|id| !is_division(&id.text));
        if owner.is_some_and(|level| heading.level > level) && own == SectionClass::Other && !named
        {
            if let Some(open) = &mut self.open {
                open.task.span.end = heading.span.end;
                open.take_shown(raw.trim_end(), false);
            }
            return true;
        }
        self.close();
        while self.above.last().is_some_and(|(level, _)| *level >= heading.level) {
            self.above.pop();
        }
        let parent = self.above.last().map(|(_, section)| section.clone());
        if named
            && own == SectionClass::Other
            && !heading.underlined
            && !survey.named
            && !self.is_full(&line)
        {
            line.span = heading.span.start..at + body.len();
            let section = parent.clone().unwrap_or_else(|| Section {
                heading: heading.text.clone(),
                class: SectionClass::Other,
                line: number,
            });
            if let Some(mut draft) = Draft::begin(&line, number, &section) {
                draft.heading = Some(heading.level);
                draft.certain |= section.class != SectionClass::Other;
                draft.task.span.end = heading.span.end;
                self.open = Some(draft);
                self.push_section(heading, number, own, parent);
                return true;
            }
        }
        self.push_section(heading, number, own, parent);
        false
    }

    fn push_section(
        &mut self,
        heading: &Heading,
        number: usize,
        own: SectionClass,
        parent: Option<Section>,
    ) {
        let class = parent.as_ref().map_or(SectionClass::Other, |parent| parent.class);
        let itself = Section { heading: heading.text.trim().to_owned(), class: own, line: number };
        let explained = class == SectionClass::Ready && explains(&heading.text);
        // The heading that decides is the one a task names as its section.
        let deciding = match parent {
            Some(parent) if own == SectionClass::Other && !explained => {
                if class == SectionClass::Other { itself.clone() } else { parent }
            }
            Some(parent) if !explained && stricter(own, class) != own => parent,
            _ => itself.clone(),
        };
        self.sections.push(Section { class: deciding.class, ..itself });
        self.above.push((heading.level, deciding));
    }

    fn take(&mut self, physical: &Physical<'a>, section: &Section, survey: &Survey, inside: bool) {
        let line = Line::read(physical.text, physical.span.start);
        let field = field::read(line.body);
        let known = field.as_ref().and_then(|field| field.key);
        if self.is_task(&line, known, survey, inside) && !self.is_full(&line) {
            let number = self.line_of(line.span.start);
            if let Some(mut draft) = Draft::begin(&line, number, section) {
                self.close();
                draft.certain |= section.class != SectionClass::Other;
                self.open = Some(draft);
                self.grow(physical);
                return;
            }
            self.look_alike(section.class, line.span.clone(), "an item without a title");
        }
        // Meant as a task, whatever its id: what follows must not become the task above's.
        let base = survey.strong.or(survey.boxed).or(survey.plain.map(|(base, _)| base));
        let beside = base.is_none_or(|base| line.indent <= base + 1);
        if has_bad_id(&line)
            && (line.marker == Some(Marker::Arrow) || line.marker.is_some() && beside)
        {
            self.close();
            self.look_alike(SectionClass::Ready, line.span.clone(), BAD_ID);
            return;
        }
        if let Some(why) = suspicious(&line, known, survey, inside, self.open.is_some()) {
            self.look_alike(section.class, line.span.clone(), why);
        }
        self.grow(physical);
        if let Some(open) = &mut self.open {
            open.take(&line, physical.text, field, &mut self.spelling);
        }
    }

    /// Whether the plan has as many tasks as are read; the first task too many is told.
    fn is_full(&mut self, line: &Line<'_>) -> bool {
        if self.drafts.len() < MOST_TASKS {
            return false;
        }
        if !std::mem::replace(&mut self.full, true) {
            self.close();
            self.diagnostics.push(Diagnostic {
                level: Level::Error,
                code: "P011",
                message: format!("this plan has more than {MOST_TASKS} tasks"),
                span: line.span.clone(),
                label: "not read from here on".to_owned(),
                also: None,
                help: Some("move what is done to another file".to_owned()),
            });
        }
        true
    }

    fn is_task(&self, line: &Line<'_>, known: Option<Key>, survey: &Survey, inside: bool) -> bool {
        let Some(marker) = line.marker.filter(|_| !has_bad_id(line)) else { return false };
        // A blank more is an accident, two are a level.
        let at_base = |base: usize| line.indent <= base + 1;
        let approval = approval_box(line).is_some() && self.open.is_some();
        if line.is_strong() {
            return survey.strong.is_some_and(|base| at_base(base) || marker == Marker::Arrow);
        }
        if inside || approval {
            return false;
        }
        if let Some(base) = survey.strong {
            let arrow = marker == Marker::Arrow;
            return at_base(base) && (line.id.is_some() || arrow) && known.is_none();
        }
        if let Some(base) = survey.boxed {
            return at_base(base) && (line.tick.is_some() || line.id.is_some() && known.is_none());
        }
        survey.plain.is_some_and(|(base, kind)| {
            at_base(base) && (marker == kind || line.id.is_some()) && known.is_none()
        })
    }

    /// The open task's block reaches to the end of this line.
    fn grow(&mut self, physical: &Physical<'_>) {
        let end = physical.span.end;
        if let Some(open) = &mut self.open {
            open.task.span.end = end + line_end(&self.source[end..]).len();
        }
    }

    fn close(&mut self) {
        if let Some(mut draft) = self.open.take()
            && draft.stays()
        {
            draft.finish(self.source);
            self.drafts.push(draft);
        }
    }

    /// Looks at a line that is only shown for something that people may take for a task.
    fn note_shown(&mut self, physical: &Physical<'_>, class: SectionClass, is_row: bool) {
        let content = physical.text.trim_start_matches(['>', '|', ' ', '\t']);
        let at = physical.span.end - content.len();
        let line = Line::read(content, at);
        let why = match physical.kind {
            Kind::Hidden => "inside a comment or HTML, where nothing is read",
            Kind::Shown if is_row => "inside a table, where nothing is read",
            Kind::Shown | Kind::Blank | Kind::Rule | Kind::Text | Kind::OpensComment => {
                "inside code or a quotation, where nothing is read"
            }
        };
        let named = line.id.as_ref().is_some_and(|id| id.strong || is_row);
        if named || (line.marker.is_some() && line.tick.is_some_and(|tick| tick.mark == ' ')) {
            self.look_alike(class, at..physical.span.end, why);
        }
    }

    fn look_alike(&mut self, class: SectionClass, span: Range<usize>, why: &str) {
        if class != SectionClass::Ready || self.look_alikes >= MOST_LOOK_ALIKES {
            return;
        }
        self.look_alikes += 1;
        self.diagnostics.push(Diagnostic {
            level: Level::Warning,
            code: "P011",
            message: "this looks like a task but is not one".to_owned(),
            span,
            label: why.to_owned(),
            also: None,
            help: Some(
                "a task is written `→ **[id]** Title`, `- [ ] Title` or `- **[id]** Title`"
                    .to_owned(),
            ),
        });
    }
}

/// What is wrong with an id that cannot be one.
const BAD_ID: &str = "an id may have letters, digits and `._-#/+`, at most 64 bytes and no blanks";

/// Why a line of a ready section may have been meant as a task, or as a field of one.
fn suspicious(
    line: &Line<'_>,
    known: Option<Key>,
    survey: &Survey,
    inside: bool,
    open: bool,
) -> Option<&'static str> {
    if line.marker.is_none() && line.id.as_ref().is_some_and(|id| id.strong) {
        return Some("an id without an arrow or a bullet before it");
    }
    if known == Some(Key::Status) && !open {
        return Some("a status that belongs to no task");
    }
    if line.marker.is_some() && has_bad_id(line) {
        return Some(BAD_ID);
    }
    let base = survey.strong.or(survey.boxed)?;
    let beside = line.indent <= base + 1 && known.is_none() && !inside;
    if survey.strong.is_some() && beside && line.tick.is_some() && approval_box(line).is_none() {
        return Some(
            "has no id, unlike the tasks around it; it was read as a note of the task above",
        );
    }
    None
}

/// Something stands where an id belongs, but cannot be one.
fn has_bad_id(line: &Line<'_>) -> bool {
    line.id.is_none() && line.body.starts_with("**[") && !line.body.contains("](")
}

/// Words that name a part of a plan rather than a task, such as `Phase-1`.
fn is_division(id: &str) -> bool {
    let lower = id.to_lowercase();
    [
        "phase",
        "sprint",
        "milestone",
        "week",
        "day",
        "epic",
        "step",
        "part",
        "stage",
        "version",
        "v",
        "q",
    ]
    .iter()
    .any(|word| {
        lower.strip_prefix(word).is_some_and(|rest| {
            rest.trim_start_matches(['-', '_', '.']).starts_with(|c: char| c.is_ascii_digit())
        })
    })
}

#[cfg(test)]
mod tests;
