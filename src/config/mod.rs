//! Settings: what the configuration files say, checked whole, with a place for everything that is wrong.
//!
//! Functions over text: no file is opened here, and the environment is not read. A setting is held, or it
//! is an error; none is ignored.
//!
//! | code | meaning |
//! |---|---|
//! | C001 | cannot be read as YAML, or not as settings |
//! | C002 | unknown setting |
//! | C003 | set twice |
//! | C004 | value of the wrong kind or form |
//! | C005 | glob |
//! | C006 | regular expression |
//! | C007 | duration |
//! | C008 | money |
//! | C009 | not supported by this version |
//! | C010 | not for a repository to set |
//! | C011 | version of the file |
//! | C020 | warning: allowed, and probably not meant |

mod keys;
mod notify;
mod reader;
mod repository;
mod rules;
pub mod schema;
mod settings;
mod shapes;
pub mod show;
mod user;
mod yaml;

pub use notify::{Destination, Notify, Service, addresses_masked, filled_in, topic};
pub use settings::{
    AgentProfile, AgentSettings, Base, CLAUDE, CanarySetting, Draft, Fallback, GateSettings, Keep,
    Override, PlanFile, PlanSettings, PrSettings, Sandbox, Sections, Settings, UserGate,
    UserSettings, WallSettings, Workspaces, env_passes, looks_secret, plan_files,
};

use crate::{
    budget::Usd,
    diagnostic::{Diagnostic, Level},
    ids::{NAME, REPO_DIRECTORY},
};

/// Both places of a repository's file are taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("both `{0}` and `{1}` exist; keep one of them")]
pub struct TwoFiles(String, String);

/// The two places where a repository's file may be, relative to its root.
pub fn repository_files() -> [String; 2] {
    [format!("{REPO_DIRECTORY}/config.yml"), format!(".github/{NAME}.yml")]
}

/// Which of the two files holds, with its path: `first` is what stands at the first place of
/// [`repository_files`]. Neither = `None`, the defaults hold.
pub fn choose<T>(first: Option<T>, second: Option<T>) -> Result<Option<(String, T)>, TwoFiles> {
    let [first_path, second_path] = repository_files();
    match (first, second) {
        (Some(_), Some(_)) => Err(TwoFiles(first_path, second_path)),
        (Some(file), None) => Ok(Some((first_path, file))),
        (None, Some(file)) => Ok(Some((second_path, file))),
        (None, None) => Ok(None),
    }
}

/// A file's bytes as text. The error's place fits the text that [`String::from_utf8_lossy`] makes.
pub fn decode(bytes: &[u8]) -> Result<&str, Vec<Diagnostic>> {
    std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        vec![Diagnostic {
            level: Level::Error,
            code: "C001",
            message: "the file is not UTF-8 text".to_owned(),
            span: at..at,
            label: "first byte that is not".to_owned(),
            also: None,
            help: Some("save it as UTF-8".to_owned()),
        }]
    })
}

/// Reads a repository's file. `path` is what origins name. The warnings stop nothing.
pub fn parse_repository(
    path: &str,
    text: &str,
) -> Result<(Settings, Vec<Diagnostic>), Vec<Diagnostic>> {
    let document = yaml::Document::read(text).map_err(|error| vec![*error])?;
    let mut reader = reader::Reader::default();
    let settings = repository::read(&mut reader, &document.root(), path);
    sort(&mut reader.found);
    if reader.found.iter().any(|found| found.level == Level::Error) {
        return Err(reader.found);
    }
    Ok((settings, reader.found))
}

/// Reads the user's own file. `path` is what origins name.
pub fn parse_user(path: &str, text: &str) -> Result<UserSettings, Vec<Diagnostic>> {
    let document = yaml::Document::read(text).map_err(|error| vec![*error])?;
    let mut reader = reader::Reader::default();
    let settings = user::read(&mut reader, &document.root(), path);
    sort(&mut reader.found);
    if reader.found.is_empty() { Ok(settings) } else { Err(reader.found) }
}

/// In the order of the file.
fn sort(found: &mut [Diagnostic]) {
    found.sort_by_key(|diagnostic| diagnostic.span.start);
}

/// Longest duration that a setting takes: a week.
const MOST_SECONDS: u64 = 7 * 24 * 3600;

/// Seconds of a duration such as `4h`, `30m`, `1h 30m`; parts of a second count as one. A number without
/// a unit is refused, because nobody knows what it means.
pub fn parse_duration(text: &str) -> Result<u64, String> {
    parse_millis(text).map(|millis| millis.div_ceil(1000))
}

/// Milliseconds of a duration, as [`parse_duration`] reads them; parts of one count as one.
pub fn parse_millis(text: &str) -> Result<u64, String> {
    let duration: jiff::SignedDuration = text.trim().parse().map_err(|_| {
        if text.trim().parse::<f64>().is_ok() {
            "a number without a unit: write `30m` or `4h`".to_owned()
        } else {
            "not a duration: write `30m`, `4h` or `1h 30m`".to_owned()
        }
    })?;
    match u64::try_from(duration.as_nanos().max(0).unsigned_abs().div_ceil(1_000_000)) {
        Ok(millis) if duration.is_positive() && millis <= MOST_SECONDS * 1000 => Ok(millis),
        Ok(_) | Err(_) => Err("expected more than nothing and at most a week".to_owned()),
    }
}

/// Bytes of a size such as `8GiB`, `512 MiB`, `2G`; zero needs no unit. Units are powers of 1024, as memory
/// and files are counted; `GB` is refused because it means two things.
pub fn parse_size(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u32); 8] = [
        ("KiB", 10),
        ("MiB", 20),
        ("GiB", 30),
        ("TiB", 40),
        ("K", 10),
        ("M", 20),
        ("G", 30),
        ("T", 40),
    ];
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 =
        number.parse().map_err(|_| "not a size: write `512MiB` or `8GiB`".to_owned())?;
    let shift = UNITS.iter().find(|(name, _)| *name == unit.trim_start()).map(|(_, shift)| *shift);
    match shift {
        None if unit.is_empty() && number == 0 => Ok(0),
        None if unit.is_empty() => {
            Err(format!("a number without a unit: write `{number}MiB` or `{number}GiB`"))
        }
        None => Err(format!("`{}` is no unit: use KiB, MiB, GiB or TiB", unit.trim())),
        Some(shift) => number
            .checked_mul(1 << shift)
            .filter(|bytes| *bytes <= MOST_BYTES)
            .ok_or_else(|| "expected at most 1024TiB".to_owned()),
    }
}

/// Largest size that a setting takes.
const MOST_BYTES: u64 = 1 << 50;

/// An amount of US dollars such as `10` or `2.50`, rounded up to the next millionth; zero = no limit.
pub fn parse_money(text: &str) -> Result<Usd, String> {
    let dollars: f64 =
        text.trim().parse().map_err(|_| "expected a number of dollars".to_owned())?;
    if !(0.0..=1e6).contains(&dollars) {
        return Err("expected 0 to 1000000 dollars".to_owned());
    }
    Ok(exact(text.trim()).unwrap_or_else(|| Usd::from_dollars(dollars)))
}

/// Plain decimals digit by digit: times a million, a binary fraction may come out one millionth too high.
fn exact(text: &str) -> Option<Usd> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(part) {
        return None;
    }
    let (micros, rest) = part.split_at(part.len().min(6));
    let more = u64::from(rest.bytes().any(|byte| byte != b'0'));
    let micros: u64 = format!("{micros:0<6}").parse().ok()?;
    let whole: u64 = whole.parse().ok()?;
    Some(Usd::from_micros(whole.checked_mul(1_000_000)?.checked_add(micros + more)?))
}

/// Every key of a repository's file, in the order of the file; those that only hold others are not among them.
pub fn keys() -> Vec<&'static str> {
    show::values(&Settings::default()).into_iter().map(|(key, _)| key).collect()
}

/// The known key nearest to `word`, if one is near enough to be meant.
pub fn nearest_key(word: &str) -> Option<&'static str> {
    keys::nearest(word, keys())
}

#[cfg(test)]
mod tests;
