//! The pull request's text for any other reader of Markdown: without the marker, boxes to tick and folded parts that
//! GitHub alone understands.
//!
//! Takes the finished text, so that both say the same; what stands in a fence is passed on as it is.

/// The pull request's `title` and `body` as a document of its own.
pub fn markdown(title: &str, body: &str) -> String {
    let mut text = format!("# {}\n\n", crate::report::text::inline(title));
    let mut fence: Option<String> = None;
    let mut empty = true;
    for line in body.lines() {
        let ticks: String = line.chars().take_while(|c| *c == '`').collect();
        let line = match &fence {
            Some(open) => {
                if ticks.len() >= open.len() && line.trim_end() == ticks {
                    fence = None;
                }
                Some(line.to_owned())
            }
            None if ticks.len() >= 3 => {
                fence = Some(ticks);
                Some(line.to_owned())
            }
            None => outside(line),
        };
        let Some(line) = line else { continue };
        let blank = line.is_empty();
        // What was taken out leaves no hole.
        if !(blank && empty) {
            text.push_str(&line);
            text.push('\n');
        }
        empty = blank;
    }
    text
}

/// A line outside of fences; `None` where nothing of it is left. Foreign words never begin one with `<`.
fn outside(line: &str) -> Option<String> {
    if line.starts_with("<!--") || line == "</details>" || line.starts_with("- [ ]") {
        return None;
    }
    let folded = line.strip_prefix("<details><summary>");
    if let Some(summary) = folded.and_then(|rest| rest.strip_suffix("</summary>")) {
        return Some(format!("## {summary}"));
    }
    Some(line.replace("&nbsp;", " "))
}
