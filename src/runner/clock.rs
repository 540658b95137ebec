//! The clock's door: the night's rules get time as an argument, from here.

#![expect(clippy::disallowed_methods, reason = "this is the door")]

use jiff::{Timestamp, Zoned};

/// Now.
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// Today's date where this machine is, as `2026-11-21`.
pub fn local_date() -> String {
    Zoned::now().strftime("%Y-%m-%d").to_string()
}
