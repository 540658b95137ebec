//! One JSON object of the stream, read without building what nobody asks for: a line of some megabytes
//! costs its own length and no more.
//!
//! A field that is missing, or of another kind than expected, is the same: not there.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, value::RawValue};

/// An object whose fields are still text.
pub(super) struct Frame<'a>(BTreeMap<String, &'a RawValue>);

impl<'a> Frame<'a> {
    /// `None` for everything that is no JSON object.
    pub(super) fn read(text: &'a str) -> Option<Frame<'a>> {
        serde_json::from_str(text).ok().map(Frame)
    }

    fn field<T: Deserialize<'a>>(&self, name: &str) -> Option<T> {
        serde_json::from_str(self.0.get(name)?.get()).ok()
    }

    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.field(name)
    }

    /// True when the field is this text.
    pub(super) fn is(&self, name: &str, text: &str) -> bool {
        self.text(name).as_deref() == Some(text)
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.field(name)
    }

    pub(super) fn integer(&self, name: &str) -> Option<i64> {
        self.field(name)
    }

    pub(super) fn decimal(&self, name: &str) -> Option<f64> {
        self.field(name)
    }

    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        self.field(name)
    }

    /// True when the field is there and not `null`.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|value| value.get() != "null")
    }

    pub(super) fn object(&self, name: &str) -> Option<Frame<'a>> {
        Frame::read(self.0.get(name)?.get())
    }

    /// The objects of an array; what is no object is left out.
    pub(super) fn objects(&self, name: &str) -> Vec<Frame<'a>> {
        let items: Vec<&'a RawValue> = self.field(name).unwrap_or_default();
        items.into_iter().filter_map(|item| Frame::read(item.get())).collect()
    }

    /// The texts of an array; what is no text is left out.
    pub(super) fn texts(&self, name: &str) -> Vec<String> {
        let items: Vec<&'a RawValue> = self.field(name).unwrap_or_default();
        items.into_iter().filter_map(|item| serde_json::from_str(item.get()).ok()).collect()
    }

    /// How many items an array has.
    pub(super) fn length(&self, name: &str) -> usize {
        self.field::<Vec<&'a RawValue>>(name).map_or(0, |items| items.len())
    }

    /// Names and values, where the values are objects.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&str, Frame<'a>)> {
        self.0.iter().filter_map(|(name, value)| Some((name.as_str(), Frame::read(value.get())?)))
    }

    /// A small field as a whole.
    pub(super) fn value(&self, name: &str) -> Option<Value> {
        self.field(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_of_another_kind_is_not_there() {
        let frame = Frame::read(r#"{"a":"x\n","b":7,"c":null,"d":[1,"y",{"e":true}]}"#).unwrap();
        assert_eq!(frame.text("a").as_deref(), Some("x\n"));
        assert_eq!((frame.text("b"), frame.number("b")), (None, Some(7)));
        assert!(!frame.has("c") && !frame.has("z") && frame.has("b"));
        assert_eq!(frame.texts("d"), ["y"]);
        assert_eq!(frame.objects("d")[0].flag("e"), Some(true));
        assert!(frame.objects("a").is_empty() && frame.object("b").is_none());
        assert!(Frame::read("[1]").is_none() && Frame::read("x").is_none());
    }
}
