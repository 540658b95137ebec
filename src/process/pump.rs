//! What a program says goes to a file that has a limit.
//!
//! Never holds up the program, and never waits for it to end: the pipe does.

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
};

/// The end of an output that was too long is kept too: that is where results and errors stand.
const TAIL: u64 = 1024 * 1024;

/// Copies an output to its file; true when something was left out.
///
/// The program does not write to the file itself because its size must have a limit, and the kernel's
/// (`RLIMIT_FSIZE`) would bind every file that the program makes. What is over the limit is read and
/// dropped, never left in the pipe: a program that waits for its reader can lose its last lines
/// (Claude Code truncates its output after 4 s). Beginning and end are kept.
pub(super) fn pump(mut from: impl Read, mut to: impl Write, limit: u64) -> bool {
    let tail_size = usize::try_from(TAIL.min(limit / 4)).unwrap_or(0);
    let mut head_left = usize::try_from(limit).unwrap_or(usize::MAX) - tail_size;
    let mut tail = VecDeque::with_capacity(0);
    let (mut dropped, mut broken) = (0_u64, false);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let chunk = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => &buffer[..count],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        let (head, rest) = chunk.split_at(head_left.min(chunk.len()));
        head_left -= head.len();
        // A full disk: the rest is lost, and said to be.
        broken |= to.write_all(head).is_err();
        tail.extend(rest);
        let excess = tail.len().saturating_sub(tail_size);
        tail.drain(..excess);
        dropped += excess as u64;
    }
    if dropped > 0 {
        let marker = format!("\n[{}: {dropped} bytes left out]\n", crate::ids::NAME);
        broken |= to.write_all(marker.as_bytes()).is_err();
    }
    broken |= to.write_all(tail.make_contiguous()).is_err();
    broken |= to.flush().is_err();
    dropped > 0 || broken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pumped(input: &[u8], limit: u64) -> (String, bool) {
        let mut out = Vec::new();
        let cut = pump(input, &mut out, limit);
        (String::from_utf8(out).unwrap(), cut)
    }

    #[test]
    fn an_output_up_to_its_limit_is_kept_whole() {
        assert_eq!(pumped(b"0123456789", 10), ("0123456789".into(), false));
        assert_eq!(pumped(b"", 10), (String::new(), false));
    }

    #[test]
    fn of_a_longer_output_beginning_and_end_are_kept() {
        let (text, cut) = pumped(b"0123456789abcdef", 8);
        assert_eq!(text, "012345\n[nightshift: 8 bytes left out]\nef");
        assert!(cut);
    }

    #[test]
    fn a_full_disk_is_said_and_the_pipe_is_drained_all_the_same() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut input = io::repeat(b'x').take(1_000_000);
        assert!(pump(&mut input, Full, 10_000_000));
        assert_eq!(input.limit(), 0);
    }
}
