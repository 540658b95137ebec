//! Doors that fail at any call, a vault whose disk fails at any call, and disks of every size: while it fails, an exit
//! code of the table and words; afterwards nothing that landed is lost, and the night goes on.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Output, Stdio},
    sync::OnceLock,
};

use crate::{
    cases::{run, some},
    kills::whole,
    scene::{Scene, Story, World, said},
};

/// Codes of the table in README.md that a failing disk may lead to. Not among them: 70, a fault of ours.
const CODES: [i32; 5] = [0, 1, 3, 4, 6];

/// What is wrong with how a command behaved while something failed.
fn manners(output: &Output) -> String {
    let text = said(output);
    match output.status.code() {
        Some(code) if !CODES.contains(&code) => format!("  exit code {code}:\n{text}"),
        None => format!("  {:?}:\n{text}", output.status),
        Some(code) if text.contains("panicked") => format!("  code {code}, a panic:\n{text}"),
        Some(code) if code > 1 && text.trim().is_empty() => format!("  code {code} without a word"),
        Some(_) => String::new(),
    }
}

/// What was lost, once nothing fails any more.
fn lost(scene: &Scene, before: &Output, story: Story) -> String {
    let (code, text) = scene.go_on();
    let mut wrong = scene.world().against_whatever_it_took(&whole(story).world);
    if code != whole(story).code {
        wrong.push_str(&format!("  exit code {code} instead of {}\n", whole(story).code));
    }
    if wrong.is_empty() { wrong } else { format!("{wrong}before:\n{}after:\n{text}", said(before)) }
}

/// CI runs each seventeenth call.
#[test]
fn a_door_that_fails_at_any_call_costs_no_landed_work() {
    let story = Story::Landing;
    let seams = &whole(story).seams;
    let calls = |door: &str| {
        let own = seams.iter().filter(|(name, _)| name.split('.').next() == Some(door));
        own.map(|(_, times)| *times).sum::<u64>()
    };
    let mut cases = Vec::new();
    for door in ["files", "journal", "process"] {
        for nth in 1..=calls(door) {
            // A disk that is full stays full; the others pass.
            for error in ["ENOSPC", "EIO", "EMFILE"] {
                let onward = if error == "ENOSPC" { "+" } else { "" };
                cases.push(format!("{error}@{door}#{nth}{onward}"));
            }
        }
    }
    run("doors that fail", &some(cases, 17), String::clone, |fault| {
        let scene = Scene::new(story);
        let output = scene.subject().env("NIGHTSHIFT_FAULTS", fault).output().unwrap();
        manners(&output) + &lost(&scene, &output, story)
    });
}

/// The last entry of the only night's journal.
fn last_entry(scene: &Scene) -> String {
    let journal = fs::read_to_string(scene.night.journal().unwrap()).unwrap();
    journal.lines().last().unwrap().to_owned()
}

#[test]
fn a_line_that_a_full_disk_refuses_is_written_into_the_room_held_back_and_the_night_says_how_it_ended()
 {
    for nth in [3, 6, 9] {
        let scene = Scene::new(Story::Landing);
        let fault = format!("ENOSPC@journal.write#{nth}");
        let output = scene.subject().env("NIGHTSHIFT_FAULTS", fault).output().unwrap();
        let text = said(&output);
        assert_eq!(output.status.code(), Some(4), "{text}");
        assert!(text.contains("stopped early: could not write the journal"), "{text}");
        let last = last_entry(&scene);
        assert!(last.contains("\"ended\""), "{last}");
        assert_eq!(lost(&scene, &output, Story::Landing), "");
    }
}

#[test]
fn a_journal_of_another_version_is_shown_as_far_as_it_is_understood_and_not_gone_on_with() {
    let scene = Scene::new(Story::Landing);
    scene.subject().env("NIGHTSHIFT_FAULTS", "KILL@journal.write#6").output().unwrap();
    let journal = scene.night.journal().unwrap();
    let own = fs::read_to_string(&journal).unwrap();
    let newer = own.replacen("\"journal\":1", "\"journal\":2", 1).replacen("0.1.0", "7.8.9", 1);
    let first = newer.lines().next().unwrap();
    for text in
        [format!("{newer}{{\"seq\":6,\"at\":\"later\"}}\n"), format!("{first}\n{{\"new\":[]}}\n")]
    {
        fs::write(&journal, &text).unwrap();
        let status = scene.command(&["status"]).output().unwrap();
        let told = said(&status);
        assert!(told.contains("journal format 2, begun by nightshift 7.8.9"), "{told}");
        let resumed = scene.command(&["resume"]).output().unwrap();
        assert_eq!(resumed.status.code(), Some(3), "{}", said(&resumed));
        assert!(said(&resumed).contains("nightshift run --fresh"), "{}", said(&resumed));
        assert_eq!(fs::read_to_string(&journal).unwrap(), text, "it is as it was");
    }
    // The one whose lines are understood shows its task.
    fs::write(&journal, &newer).unwrap();
    let status = scene.command(&["status"]).output().unwrap();
    assert!(said(&status).contains("Add one") && status.status.success(), "{}", said(&status));
    // Back in its own version it goes on.
    fs::write(&journal, &own).unwrap();
    let output = scene.command(&["resume"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
}

/// A clock that jumps by an hour, a day, and back, at every look at it.
#[test]
fn a_clock_that_jumps_at_any_look_costs_no_work() {
    let story = Story::Landing;
    let cases: Vec<String> = (1..=whole(story).seams["clock"])
        .flat_map(|nth| ["+3600", "-3600", "+86400"].map(|jump| format!("{jump}@clock#{nth}+")))
        .collect();
    run("clocks that jump", &some(cases, 9), String::clone, |fault| {
        let scene = Scene::new(story);
        let output = scene.subject().env("NIGHTSHIFT_FAULTS", fault).output().unwrap();
        manners(&output) + &lost(&scene, &output, story)
    });
}

/// The preloaded library, made once. `None` without a C compiler.
pub(crate) fn shim() -> Option<PathBuf> {
    static SHIM: OnceLock<Option<PathBuf>> = OnceLock::new();
    let made = SHIM.get_or_init(|| {
        let library = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("shim.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults/shim.c");
        let flags = ["-shared", "-fPIC", "-O1", "-Wall", "-o"];
        let made = Command::new("cc").args(flags).arg(&library).arg(source).arg("-ldl").output();
        let Ok(made) = made else {
            crate::cases::say("skipped: there is no C compiler `cc` for the preloaded library");
            return None;
        };
        assert!(made.status.success(), "{}", said(&made));
        Some(library)
    });
    made.clone()
}

/// The subject of a scene with the library before it, which looks at what libgit2 does in the vault and in the
/// person's repository.
pub(crate) fn preloaded(scene: &Scene, library: &PathBuf) -> Command {
    let root = scene.night.path("");
    let below = format!(
        "{0}home/.local/state/nightshift/repos/:{0}repo/.git/",
        root.display().to_string().trim_end_matches('/').to_owned() + "/"
    );
    let mut command = scene.subject();
    command.env("LD_PRELOAD", library).env("SHIM_BELOW", below);
    command
}

/// Every call that C code makes below the state and the repository fails once, until none is left. CI runs each
/// twenty-ninth.
#[test]
fn a_vault_whose_disk_fails_at_any_call_loses_no_landed_work() {
    let Some(library) = shim() else { return };
    let story = Story::Landing;
    for (error, number) in [("ENOSPC", "28"), ("EIO", "5"), ("EMFILE", "24")] {
        let fails = |scene: &Scene, nth: u64| {
            let mut command = preloaded(scene, &library);
            command.env("SHIM_NTH", nth.to_string()).env("SHIM_ERRNO", number);
            command.env("SHIM_FIRED", scene.night.path("fired"));
            if error == "ENOSPC" {
                command.env("SHIM_ONWARD", "1");
            }
            command.output().unwrap()
        };
        let scene = Scene::new(story);
        fails(&scene, 0);
        let calls = fs::read_to_string(scene.night.path("fired")).unwrap().lines().count();
        assert!(calls > 20, "{error}: {calls} calls");
        let cases: Vec<u64> = (1..=calls as u64).collect();
        run(
            &format!("{error} under libgit2"),
            &some(cases, 29),
            |nth| format!("{error}#{nth}"),
            |nth| {
                let scene = Scene::new(story);
                let output = fails(&scene, *nth);
                let fired = fs::read_to_string(scene.night.path("fired")).unwrap_or_default();
                let wrong = manners(&output) + &lost(&scene, &output, story);
                if wrong.is_empty() { wrong } else { format!("  {fired}{wrong}") }
            },
        );
    }
}

/// The index over journals is C code as well: whatever its disk refuses, what is told stays true, and it is made again.
#[test]
fn an_index_whose_disk_fails_at_any_call_tells_what_the_journals_hold() {
    let Some(library) = shim() else { return };
    let scene = Scene::new(Story::Landing);
    assert_eq!(scene.subject().output().unwrap().status.code(), Some(0));
    let index = scene.night.path("home/.local/state/nightshift/history.db");
    let told = |nth: usize, number: &str| {
        for end in ["", "-journal", "-wal", "-shm"] {
            let _ = fs::remove_file(index.with_file_name(format!("history.db{end}")));
        }
        let mut command = scene.command(&["history", "--json"]);
        command.env("LD_PRELOAD", &library).env("SHIM_BELOW", &index);
        command.env("SHIM_NTH", nth.to_string()).env("SHIM_ERRNO", number);
        command.env("SHIM_FIRED", scene.night.path("fired")).output().unwrap()
    };
    let right = scene.command(&["history", "--json"]).output().unwrap().stdout;
    assert!(String::from_utf8_lossy(&right).contains("\"landed\":1"), "there is something to tell");
    for (error, number) in [("ENOSPC", "28"), ("EIO", "5"), ("EMFILE", "24")] {
        let _ = fs::remove_file(scene.night.path("fired"));
        assert_eq!(told(0, number).stdout, right);
        let calls = fs::read_to_string(scene.night.path("fired")).unwrap().lines().count();
        assert!(calls > 0, "{error}: nothing of the index was seen");
        for nth in 1..=calls {
            let output = told(nth, number);
            let wrong = manners(&output);
            assert!(wrong.is_empty(), "{error}#{nth}: {wrong}");
            assert_eq!(output.stdout, right, "{error}#{nth}: {}", said(&output));
        }
        crate::cases::say(&format!("{error} under SQLite: {calls} runs, 0 differences"));
        let again = scene.command(&["history", "--json"]).output().unwrap();
        assert_eq!(again.stdout, right, "{error}: afterwards");
    }
}

/// A small disk for the state, full from the beginning or filled up by the agent but for so many KiB, and then made
/// larger. The script runs where a person may mount: in a namespace of their own.
const DISK: &str = r#"
set -e
mount -t tmpfs -o "size=${SIZE}k" none "$STATE"
set +e
"$NIGHTSHIFT" run --agent test > "$OUT/first" 2>&1
echo $? > "$OUT/code"
set -e
mount -o remount,size=2g "$STATE"
rm -f "$STATE/junk"
set +e
"$NIGHTSHIFT" resume > "$OUT/second" 2>&1
again=$?
if grep -q 'nothing to go on with' "$OUT/second"; then
    "$NIGHTSHIFT" run --agent test >> "$OUT/second" 2>&1
    again=$?
fi
echo $again > "$OUT/again"
"$NIGHTSHIFT" status > "$OUT/status" 2>&1 || echo "status failed" >> "$OUT/status"
mkdir "$OUT/state" && cp -a "$STATE/." "$OUT/state/"
"#;

#[test]
fn a_state_on_a_disk_of_any_size_loses_no_landed_work() {
    let mounts =
        Command::new("unshare").args(["-Urm", "mount", "-t", "tmpfs", "none", "/mnt"]).output();
    if !mounts.is_ok_and(|output| output.status.success()) {
        crate::cases::say("skipped: a disk of its own: no user namespaces, or no unshare, here");
        return;
    }
    // In KiB: sizes that are too small to begin with, and what is left of one that was large enough.
    let small = [16, 64, 100, 200, 400, 1_000, 10_000, 70_000, 90_000];
    let left = [0, 4, 8, 12, 16, 24, 32, 48, 64, 128, 256, 1_024];
    let cases: Vec<(u64, Option<u64>)> = small
        .map(|size| (size, None))
        .into_iter()
        .chain(left.map(|left| (400_000, Some(left))))
        .collect();
    assert!(cases.len() > 20);
    run(
        "disks of every size",
        &some(cases, 3),
        |(size, left)| format!("{size} KiB, {left:?} left"),
        |(size, left)| {
            let scene = Scene::filling(*left);
            let (state, out) = (scene.night.path("home/.local/state"), scene.night.path("out"));
            fs::create_dir_all(&state).unwrap();
            fs::create_dir_all(&out).unwrap();
            let command = scene.command(&[]);
            let program = command.get_program().to_owned();
            let mut outer = Command::new("unshare");
            outer.args(["-Urm", "sh", "-c", DISK]).current_dir(scene.night.repo()).env_clear();
            outer.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
            outer.env("SIZE", size.to_string()).env("STATE", &state).env("OUT", &out);
            outer.env("NIGHTSHIFT", program).stdin(Stdio::null());
            let output = outer.output().unwrap();
            let read = |name: &str| fs::read_to_string(out.join(name)).unwrap_or_default();
            let (code, again) = (read("code"), read("again"));
            let story = format!(
                "{}--\n{}--\n{}{}",
                read("first"),
                read("second"),
                read("status"),
                said(&output)
            );
            let mut wrong = String::new();
            let known = code.trim().parse().is_ok_and(|code| CODES.contains(&code));
            if !known || story.contains("panicked") {
                wrong.push_str(&format!("  exit code {code}\n"));
            }
            if again.trim() != "0" {
                wrong.push_str(&format!("  exit code {again} after\n"));
            }
            if story.contains("status failed") {
                wrong.push_str("  the journal cannot be read\n");
            }
            fs::remove_dir_all(&state).unwrap();
            fs::rename(out.join("state"), &state).unwrap();
            wrong.push_str(&scene.world().against_whatever_it_took(&whole(Story::Landing).world));
            if wrong.is_empty() { wrong } else { format!("{wrong}{story}") }
        },
    );
}
