//! Follows the growing output of a program, and keeps what is worth keeping of it.
//!
//! A file is always complete; a pipe would lose the result when it is read too late. Memory stays bounded,
//! whatever is printed: of a line that is longer than [`LONGEST`] only its length is known.

use std::{
    fs::File,
    io::{self, BufWriter, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use crate::{files, redact::Redactor};

/// 4 MiB: the longest line that is looked at. Results of tools are the longest lines, and of those nothing is
/// needed.
const LONGEST: usize = 4 * 1024 * 1024;
/// 1 MiB: the longest line that is kept in an attempt's transcript.
const LONGEST_KEPT: usize = 1024 * 1024;
const BUFFER: usize = 64 * 1024;

/// Reads what a growing file has gained.
#[derive(Debug)]
pub(super) struct Tail {
    path: PathBuf,
    at: u64,
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    /// Bytes of this line that were passed over, once it was too long.
    passed: u64,
}

/// A line with its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Whole<'a> {
    /// Its bytes, without the end.
    Line(&'a [u8]),
    /// It was too long to be looked at: how many bytes it had.
    TooLong(u64),
}

impl Tail {
    /// From this byte of the file on.
    pub(super) fn of(path: &Path, at: u64) -> Tail {
        Tail { path: path.into(), at, line: Vec::new(), passed: 0 }
    }

    /// Bytes read so far.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Gives every line that has its end by now, reading about `most` bytes; true when something new was
    /// there. A file that cannot be read has nothing new.
    pub(super) fn read(&mut self, most: u64, mut each: impl FnMut(Whole<'_>)) -> bool {
        let before = self.at;
        // A program that printed nothing yet may have no file yet.
        let _ = self.try_read(most, &mut each);
        self.at > before
    }

    fn try_read(&mut self, most: u64, each: &mut impl FnMut(Whole<'_>)) -> io::Result<()> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.at))?;
        let mut buffer = vec![0; BUFFER];
        let mut file = file.take(most);
        loop {
            let count = file.read(&mut buffer)?;
            if count == 0 {
                return Ok(());
            }
            self.at += count as u64;
            self.take(&buffer[..count], each);
        }
    }

    fn take(&mut self, mut rest: &[u8], each: &mut impl FnMut(Whole<'_>)) {
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            self.add(&rest[..end]);
            if self.passed > 0 {
                each(Whole::TooLong(self.passed));
            } else {
                each(Whole::Line(&self.line));
            }
            self.passed = 0;
            self.line.clear();
            // The memory of one long line is not held for the rest of a night.
            self.line.shrink_to(BUFFER);
            rest = &rest[end + 1..];
        }
        self.add(rest);
    }

    fn add(&mut self, bytes: &[u8]) {
        if self.passed == 0 && self.line.len() + bytes.len() <= LONGEST {
            self.line.extend_from_slice(bytes);
        } else {
            self.passed += (self.line.len() + bytes.len()) as u64;
            self.line = Vec::new();
        }
    }
}

/// The transcript of one attempt: whole lines, without secrets, for whoever reads along.
pub(super) struct Kept {
    path: PathBuf,
    to: BufWriter<File>,
    redactor: Redactor,
    failed: Option<io::Error>,
}

impl Kept {
    /// Begins it anew.
    pub(super) fn begin(path: &Path, redactor: Redactor) -> Result<Kept, files::Error> {
        files::remove_file(path)?;
        let to = BufWriter::with_capacity(BUFFER, files::append_to(path)?);
        Ok(Kept { path: path.into(), to, redactor, failed: None })
    }

    /// Keeps a line; what is too long is said to be missing.
    pub(super) fn line(&mut self, line: &str) {
        let line = self.redactor.redact(line);
        if line.len() > LONGEST_KEPT {
            self.left_out(line.len() as u64);
        } else {
            self.write(&line);
        }
    }

    /// Says that a line of so many bytes is missing.
    pub(super) fn left_out(&mut self, bytes: u64) {
        self.write(&format!(r#"{{"type":"{}","left_out_bytes":{bytes}}}"#, crate::ids::NAME));
    }

    fn write(&mut self, line: &str) {
        if self.failed.is_none() {
            let written =
                self.to.write_all(line.as_bytes()).and_then(|()| self.to.write_all(b"\n"));
            self.failed = written.err();
        }
    }

    /// Shows what was kept so far.
    pub(super) fn flush(&mut self) {
        if self.failed.is_none() {
            self.failed = self.to.flush().err();
        }
    }

    /// The first write that failed, in words: a full disk ends no run, but it is said.
    pub(super) fn trouble(&self) -> Option<String> {
        let problem = self.failed.as_ref()?;
        Some(format!("{} is not complete: {problem}", self.path.display()))
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the tests write files")]
mod tests {
    use super::*;

    fn lines(tail: &mut Tail, most: u64) -> Vec<String> {
        let mut found = Vec::new();
        tail.read(most, |whole| match whole {
            Whole::Line(line) => found.push(String::from_utf8_lossy(line).into_owned()),
            Whole::TooLong(bytes) => found.push(format!("{bytes} bytes")),
        });
        found
    }

    #[test]
    fn a_line_is_given_when_its_end_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stream");
        let mut tail = Tail::of(&path, 0);
        assert!(!tail.read(100, |_| panic!("no file")));
        std::fs::write(&path, "one\ntwo\nthr").unwrap();
        assert_eq!(lines(&mut tail, 6), ["one"]);
        assert_eq!(lines(&mut tail, 100), ["two"]);
        std::fs::write(&path, "one\ntwo\nthree\n\nfour").unwrap();
        assert_eq!(lines(&mut tail, 100), ["three", ""]);
        assert_eq!(lines(&mut tail, 100), [""; 0]);
        assert_eq!(lines(&mut Tail::of(&path, 4), 100), ["two", "three", ""]);
    }

    #[test]
    fn of_a_line_that_is_too_long_only_its_length_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stream");
        let long = "x".repeat(LONGEST + 1);
        std::fs::write(&path, format!("a\n{long}\n{}\nb\n", &long[..LONGEST])).unwrap();
        let mut tail = Tail::of(&path, 0);
        let found = lines(&mut tail, u64::MAX);
        assert_eq!(found[..2], ["a".to_owned(), format!("{} bytes", LONGEST + 1)]);
        assert_eq!((found[2].len(), found[3].as_str()), (LONGEST, "b"));
        assert!(tail.line.capacity() <= BUFFER, "{}", tail.line.capacity());
    }

    #[test]
    fn an_endless_line_fills_no_memory() {
        let mut tail = Tail::of(Path::new("/nowhere"), 0);
        let mut most = 0;
        let chunk = vec![b'x'; BUFFER];
        for _ in 0..1600 {
            tail.take(&chunk, &mut |_| panic!("no end"));
            most = most.max(tail.line.capacity());
        }
        assert!(most <= 2 * LONGEST, "{most}");
        assert_eq!((tail.line.len(), tail.passed), (0, 1600 * BUFFER as u64));
    }

    #[test]
    fn what_is_kept_has_no_secrets_and_no_huge_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kept");
        let redactor = Redactor::new(["topsecret".to_owned()]);
        let mut kept = Kept::begin(&path, redactor).unwrap();
        kept.line(r#"{"a":"topsecret"}"#);
        kept.line(&"é".repeat(LONGEST_KEPT));
        kept.left_out(7);
        kept.flush();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "{\"a\":\"***\"}\n{\"type\":\"nightshift\",\"left_out_bytes\":2097152}\n\
             {\"type\":\"nightshift\",\"left_out_bytes\":7}\n"
        );
        assert_eq!(kept.trouble(), None);
    }
}
