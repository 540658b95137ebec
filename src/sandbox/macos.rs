//! The walls of macOS: a profile for `sandbox-exec`, as text.
//!
//! Everything is denied but what the walls name and what no program runs without. Pure: never touches the
//! system, and is the same text on every one. Paths are compared after all links are followed, so the walls
//! must name real paths (`/private/tmp`, not `/tmp`); one that is not real grants nothing.
//!
//! The rules follow those of OpenAI's Codex and Anthropic's sandbox-runtime; none of it has run on a Mac yet.

use std::path::Path;

use crate::sandbox::{Network, Walls};

/// Part of the system since 10.5, and what Chromium, Bazel and Nix build on, though its page calls it
/// deprecated.
const PROGRAM: &str = "/usr/bin/sandbox-exec";

/// What every program needs. Names and sizes of all files can be seen, as in T1.
const ALWAYS: &str = "\
(version 1)
(deny default)
(allow process-exec)
(allow process-fork)
(allow process-info* (target same-sandbox))
(allow signal (target same-sandbox))
(allow sysctl-read)
(allow file-read-metadata)
(allow file-read* (literal \"/\") (subpath \"/usr/lib\") (subpath \"/System/Library\")
  (subpath \"/System/Volumes/Preboot/Cryptexes\") (subpath \"/private/var/db/dyld\")
  (literal \"/dev/random\") (literal \"/dev/urandom\"))
(allow file-read* file-write-data file-ioctl (literal \"/dev/null\") (literal \"/dev/zero\")
  (literal \"/dev/dtracehelper\"))
(allow file-read* file-write-data (subpath \"/dev/fd\"))
(allow ipc-posix-sem)
(allow mach-lookup (global-name \"com.apple.system.opendirectoryd.libinfo\")
  (global-name \"com.apple.system.opendirectoryd.membership\")
  (global-name \"com.apple.system.logger\") (global-name \"com.apple.system.notification_center\"))
";
/// Names and certificates, for a program with the machine's network.
const HOST: &str = "\
(allow network*)
(allow system-socket)
(allow mach-lookup (global-name \"com.apple.SystemConfiguration.configd\")
  (global-name \"com.apple.SystemConfiguration.DNSConfiguration\")
  (global-name \"com.apple.networkd\") (global-name \"com.apple.trustd.agent\")
  (global-name \"com.apple.SecurityServer\"))
";

/// The profile. A later rule wins over an earlier one.
pub fn profile(walls: &Walls) -> String {
    let mut text = ALWAYS.to_owned();
    let overlays = walls.overlays.iter().map(|overlay| &overlay.at);
    let write: Vec<&Path> =
        walls.write.iter().chain(overlays).chain([&walls.tmp]).map(AsRef::as_ref).collect();
    let read = walls.read.iter().map(AsRef::as_ref);
    rule(&mut text, "allow file-read*", "subpath", read.chain(write.iter().copied()));
    rule(&mut text, "allow file-write* file-ioctl", "subpath", write.iter().copied());
    // A directory that is moved away and replaced by a link would carry the walls' rules elsewhere.
    let mut firm: Vec<&Path> = write.iter().flat_map(|path| path.ancestors()).collect();
    firm.sort_unstable();
    firm.dedup();
    rule(&mut text, "deny file-write-unlink", "literal", firm.into_iter());
    let hidden = walls.hidden.iter().map(AsRef::as_ref);
    rule(&mut text, "deny file-read-data file-write*", "subpath", hidden);
    match &walls.network {
        Network::Host => text.push_str(HOST),
        Network::Nobody => listening(&mut text),
        Network::Ours { port } => {
            listening(&mut text);
            text.push_str(&format!("(allow network-outbound (remote ip \"localhost:{port}\"))\n"));
        }
    }
    text
}

/// The program and its arguments, to be started instead of `argv`.
pub fn command(walls: &Walls, argv: &[String]) -> Vec<String> {
    let mut command = vec![PROGRAM.to_owned(), "-p".to_owned(), profile(walls)];
    command.extend_from_slice(argv);
    command
}

/// Tests listen. Who may connect is another rule.
fn listening(text: &mut String) {
    text.push_str("(allow network-bind network-inbound (local ip \"localhost:*\"))\n");
}

/// One rule for all paths; none for none, since a rule without a filter is for everything.
fn rule<'a>(text: &mut String, what: &str, how: &str, paths: impl Iterator<Item = &'a Path>) {
    let mut paths = paths.peekable();
    if paths.peek().is_none() {
        return;
    }
    text.push_str(&format!("({what}"));
    for path in paths {
        // The file systems of macOS have no names that are not UTF-8: a lossy one names nothing.
        text.push_str(&format!("\n  ({how} {})", quoted(&path.to_string_lossy())));
    }
    text.push_str(")\n");
}

/// A string of the profile's language, which is a Scheme.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        if matches!(character, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::sandbox::{Limits, Tier};

    fn walls(network: Network) -> Walls {
        Walls {
            tier: Tier::Mac,
            read: vec!["/usr/bin".into()],
            write: vec!["/Users/ada/work".into()],
            hidden: Vec::new(),
            overlays: Vec::new(),
            tmp: "/private/tmp/n1".into(),
            network,
            limits: Limits::default(),
        }
    }

    /// The text of the rule that begins so.
    fn part<'a>(profile: &'a str, begin: &str) -> &'a str {
        let at = profile.find(begin).unwrap_or_else(|| panic!("no `{begin}` in:\n{profile}"));
        let rest = &profile[at..];
        rest.find("\n(").map_or(rest, |end| &rest[..end])
    }

    /// Parentheses outside of strings match; a string ends where it should.
    fn balanced(profile: &str) -> bool {
        let (mut depth, mut inside, mut escaped) = (0_i32, false, false);
        for character in profile.chars() {
            match character {
                _ if escaped => escaped = false,
                '\\' if inside => escaped = true,
                '"' => inside = !inside,
                '(' if !inside => depth += 1,
                ')' if !inside => depth -= 1,
                _ => {}
            }
            if depth < 0 {
                return false;
            }
        }
        depth == 0 && !inside
    }

    #[test]
    fn everything_is_denied_first_and_the_paths_are_allowed() {
        let profile = profile(&walls(Network::Nobody));
        assert!(profile.starts_with("(version 1)\n(deny default)\n"), "{profile}");
        assert!(balanced(&profile), "{profile}");
        let read = part(&profile, "(allow file-read*\n");
        for path in ["/usr/bin", "/Users/ada/work", "/private/tmp/n1"] {
            assert!(read.contains(&format!("(subpath \"{path}\")")), "{read}");
        }
        let write = part(&profile, "(allow file-write* file-ioctl\n");
        assert!(!write.contains("/usr/bin"), "{write}");
        assert_eq!(write.matches("subpath").count(), 2, "{write}");
        for forbidden in
            ["(allow default", "(allow file-write*)", "(allow file-read*)", "(subpath \"/\")"]
        {
            assert!(!profile.contains(forbidden), "{forbidden} in:\n{profile}");
        }
    }

    #[test]
    fn what_is_writable_cannot_be_moved_away_and_this_is_said_last() {
        let mut walls = walls(Network::Nobody);
        walls.write.push("/Users/ada/work/inner".into());
        let profile = profile(&walls);
        let firm = part(&profile, "(deny file-write-unlink");
        for path in ["/", "/Users", "/Users/ada", "/Users/ada/work", "/Users/ada/work/inner"] {
            assert_eq!(
                firm.matches(&format!("(literal \"{path}\")")).count(),
                1,
                "{path} in {firm}"
            );
        }
        let allowed = profile.find("(allow file-write* ").expect("it is there");
        assert!(profile.find("(deny file-write-unlink").expect("it is there") > allowed);
    }

    #[test]
    fn credentials_below_what_is_readable_are_not() {
        let mut walls = walls(Network::Nobody);
        walls.hidden.push("/Users/ada/work/.netrc".into());
        let profile = profile(&walls);
        let hidden = part(&profile, "(deny file-read-data");
        assert!(hidden.contains("(subpath \"/Users/ada/work/.netrc\")"), "{hidden}");
        let allowed = profile.find("(allow file-read*\n").expect("it is there");
        assert!(profile.find(hidden).expect("it is there") > allowed);
    }

    #[test]
    fn the_network_is_what_the_walls_say() {
        let nobody = profile(&walls(Network::Nobody));
        assert!(
            !nobody.contains("network-outbound") && nobody.contains("network-bind"),
            "{nobody}"
        );
        let ours = profile(&walls(Network::Ours { port: 3128 }));
        assert_eq!(ours.matches("network-outbound").count(), 1);
        assert!(ours.contains("(allow network-outbound (remote ip \"localhost:3128\"))"), "{ours}");
        let host = profile(&walls(Network::Host));
        assert!(host.contains("(allow network*)") && balanced(&host), "{host}");
        assert!(!nobody.contains("network*") && !ours.contains("network*"));
    }

    #[test]
    fn no_path_can_speak_the_profiles_language() {
        let mut walls = walls(Network::Nobody);
        walls.write = vec![PathBuf::from("/w\") (allow default) (literal \"\\")];
        let profile = profile(&walls);
        assert!(balanced(&profile), "{profile}");
        assert!(
            profile.contains(r#"(subpath "/w\") (allow default) (literal \"\\")"#),
            "{profile}"
        );
    }

    #[test]
    fn the_program_comes_after_its_profile() {
        let walls = walls(Network::Nobody);
        let argv = ["/bin/sh".to_owned(), "-c".to_owned(), "exit 3".to_owned()];
        let command = command(&walls, &argv);
        assert_eq!(command[..2], ["/usr/bin/sandbox-exec", "-p"]);
        assert_eq!(command[2], profile(&walls));
        assert_eq!(command[3..], argv);
    }
}
